"""`mgoe torchserve`: make an archive of a bundle, serve it, ask whether it is ready."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import typer
import yaml
from pydantic import BaseModel, ValidationError
from rich.console import Console

from model.errors import Fault, UserError, first_mistake
from serving.ranker.torchserve.archive import ArchiveOptions, archive_in, write_archive
from serving.ranker.torchserve.launch import ServerOptions, serve
from serving.ranker.torchserve.readiness import why_not_ready

app = typer.Typer(
    add_completion=False, help="The ranker on TorchServe: archive, server, readiness.", no_args_is_help=True
)

Options = TypeVar("Options", bound=BaseModel)

RunOption = Annotated[Path, typer.Option("--run", help="Working folder: configuration, tokens, temporary files.")]
OptionsOption = Annotated[
    Path | None, typer.Option("--options", help="YAML file with options of the server (ServerOptions).")
]


@app.command("archive")
def archive_command(
    bundle: Annotated[Path, typer.Option("--bundle", help="Folder of the bundle.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the archive artifact.")],
    options: Annotated[
        Path | None, typer.Option("--options", help="YAML file with options of the archive (ArchiveOptions).")
    ] = None,
    uri: Annotated[
        str | None,
        typer.Option("--uri", help="Where workers fetch the bundle from (s3://...). [default: it is packed]"),
    ] = None,
) -> None:
    """Make the model archive (MAR) of a bundle; equal input gives equal bytes."""
    manifest = write_archive(bundle, out, _read(ArchiveOptions, options), uri)
    Console(highlight=False, soft_wrap=True).print(f"archive {manifest.digest[:12]} in {archive_in(out)}", markup=False)


@app.command("serve")
def serve_command(
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="A .mar file, or the folder of its artifact.")],
    run: RunOption,
    options: OptionsOption = None,
) -> None:
    """Serve an archive until SIGTERM, then drain."""
    serve(archive_in(archive) if archive.is_dir() else archive, run, _read(ServerOptions, options))


@app.command("ready")
def ready_command(
    run: RunOption,
    options: OptionsOption = None,
    model: Annotated[str | None, typer.Option("--model", help="The model's name. [default: the one served]")] = None,
) -> None:
    """Exit with 0 where a worker has loaded its bundle, else say in one line why not."""
    reason = why_not_ready(run, _read(ServerOptions, options), model)
    if reason is not None:
        raise Fault(reason)


def _read(kind: type[Options], path: Path | None) -> Options:
    try:
        values = {} if path is None else yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        return kind.model_validate(values)
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"options file {path} cannot be read: {str(error).splitlines()[0]}") from None
    except ValidationError as error:
        raise UserError(f"options file {path}: {first_mistake(error)}") from None
