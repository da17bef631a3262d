"""`mgoe registry`: what is registered, under which alias, where it comes from; register a pair, promote, move back."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
import yaml
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from model.errors import UserError
from model.registry.alias import roll_back
from model.registry.gate import Gate
from model.registry.model_registry import DEFAULT_NAME, ModelRegistry, Version
from model.registry.promotion import of_bundle, promote, promotion_tag

app = typer.Typer(add_completion=False, help="List, show and register model versions.", no_args_is_help=True)

Uri = Annotated[str, typer.Option("--registry", envvar="MGOE_REGISTRY", help="sqlite:///file.db, or a server's URL.")]
Name = Annotated[str, typer.Option("--name", help="Name that the versions belong to.")]
DEFAULT_URI = "sqlite:///runs/registry.db"
DIGEST_LENGTH = 12
"""Characters of a digest that are shown in tables; `show` prints all of them."""
_DIGEST = re.compile("[0-9a-f]{64}")


@app.command("list")
def list_command(registry: Uri = DEFAULT_URI) -> None:
    """All versions of all models, with their aliases."""
    opened = _open(registry)
    table = Table("model", "version", "aliases", "architecture", "digest", "graph", "registered")
    for name in opened.names():
        for version in opened.versions(name):
            table.add_row(*_row(version))
    Console().print(table if table.row_count else f"{registry} holds no versions yet: register a compared pair first")


@app.command("show")
def show_command(
    version: Annotated[str, typer.Argument(help="A version number, an alias, or the whole digest of a bundle.")],
    registry: Uri = DEFAULT_URI,
    name: Name = DEFAULT_NAME,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """One version: where its model is, and the run, graph and data it comes from."""
    found = _find(_open(registry), name, version)
    if as_json:
        typer.echo(json.dumps(asdict(found), default=str, indent=1))
    else:
        Console().print(_details(found))


@app.command("register")
def register_command(
    *,
    baseline: Annotated[Path, typer.Option(help="Model artifact of the baseline.")],
    candidate: Annotated[Path, typer.Option(help="Model artifact of the candidate.")],
    comparison: Annotated[Path, typer.Option(help="Comparison artifact of the two.")],
    registry: Uri = DEFAULT_URI,
    name: Name = DEFAULT_NAME,
    gate: Annotated[Path | None, typer.Option(help="YAML with the gate's thresholds; defaults when absent.")] = None,
    run: Annotated[str | None, typer.Option(help="Name of the pipeline run, kept as a tag.")] = None,
) -> None:
    """Register a compared pair as `baseline` and `candidate`. Exit code 3 when the candidate breaks the gate."""
    from model.registry.run import register  # noqa: PLC0415  mlflow takes seconds

    thresholds = Gate() if gate is None else _read_gate(gate)
    done = register(baseline, candidate, comparison, registry, thresholds, run, name=name)
    table = Table("model", "version", "aliases", "architecture", "digest", "graph", "registered")
    table.add_row(*_row(done.baseline))
    table.add_row(*_row(done.candidate))
    Console().print(table)


@app.command("promote")
def promote_command(
    bundle: Annotated[str, typer.Argument(help="Digest of the bundle that serves (`mgoe bundle show`).")],
    run: Annotated[str, typer.Option("--run", help="The rollout's run, such as feed.1: each promotes once.")],
    registry: Uri = DEFAULT_URI,
) -> None:
    """Point `baseline` at the version of a bundle that a rollout has put into production; a stack does it by itself."""
    version = promote(_open(registry), bundle, run, datetime.now(UTC))
    at = version.tags[promotion_tag(run)]
    typer.echo(f"version {version.number} of {version.name} was made the baseline by {run} at {at}")


@app.command("rollback")
def rollback_command(
    alias: Annotated[Literal["baseline", "candidate"], typer.Argument(help="The alias to move back.")],
    registry: Uri = DEFAULT_URI,
    name: Name = DEFAULT_NAME,
) -> None:
    """Point an alias at the version it pointed at before."""
    version = roll_back(_open(registry), name, alias)
    Console().print(f"{alias} of {name} is version {version.number} again ({version.digest[:DIGEST_LENGTH]})")


def _open(uri: str) -> ModelRegistry:
    from model.registry.mlflow_registry import MlflowRegistry  # noqa: PLC0415  mlflow takes seconds

    database = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not database.exists():
        raise UserError(f"registry {uri}: there is no file {database}; name one with --registry, or run the pipeline")
    return MlflowRegistry(uri)


def _find(registry: ModelRegistry, name: str, version: str) -> Version:
    if _DIGEST.fullmatch(version):
        return of_bundle(registry, version)
    if version.isdecimal():
        return registry.get(name, int(version))
    found = registry.by_alias(name, version)
    if found is None:
        raise UserError(f"model {name!r} has no version with the alias {version!r}; `mgoe registry list` shows all")
    return found


def _row(version: Version) -> tuple[str, ...]:
    return (
        version.name,
        str(version.number),
        ", ".join(version.aliases),
        version.tags.get("architecture", ""),
        version.digest[:DIGEST_LENGTH],
        version.tags.get("graph_version", "")[:DIGEST_LENGTH],
        f"{version.created:%Y-%m-%d %H:%M} UTC",
    )


def _details(version: Version) -> Table:
    table = Table("field", "value", title=f"{version.name} version {version.number}", title_justify="left")
    table.add_row("aliases", ", ".join(version.aliases))
    table.add_row("registered", f"{version.created:%Y-%m-%d %H:%M:%S} UTC")
    table.add_row("model at", version.uri)
    for tag, value in sorted(version.tags.items()):
        table.add_row(tag.replace("_", " "), value)
    return table


def _read_gate(path: Path) -> Gate:
    try:
        return Gate.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except OSError as error:
        raise UserError(f"gate {path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UserError(f"gate {path} is not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"gate {path}: {field} = {first['input']!r:.80}: {first['msg']}") from error
