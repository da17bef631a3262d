"""Commands of the pipeline: run it here; compile, submit and schedule it for a cluster."""
# ruff: noqa: PLC0415, PLR0917  # kfp takes a second to load, and typer reads the signature

from __future__ import annotations

import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from model.errors import UserError
from pipelines.form import Form, load_form
from pipelines.recipe_text import default_recipe, recipe_text

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="The pipeline: run, compile, submit, schedule."
)


class Kind(StrEnum):
    """Compiled forms."""

    local = "local"
    cluster = "cluster"


RecipeOption = Annotated[str | None, typer.Option("--recipe", "-r", help="Shipped recipe or YAML file.")]


@app.command("run")
def run(
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", help="Raw log: a folder or s3://bucket/prefix. [default: a synthetic log]"),
    ] = None,
    recipe: RecipeOption = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for artifacts, report and registry.")] = Path("runs"),
    schema: Annotated[
        str | None, typer.Option("--schema", help="Shipped schema or file. [default: the log's own schema.yaml]")
    ] = None,
    store: Annotated[
        str | None, typer.Option("--store", help="Store to share artifacts through: a folder or s3://bucket/prefix.")
    ] = None,
    registry: Annotated[
        str | None, typer.Option("--registry", help="MLflow registry URI. [default: a SQLite file under --out]")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Seed of both trainings. [default: the recipe's]")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what the steps print.")] = False,
) -> None:
    """Run the whole pipeline on this machine: log to two trained, compared and registered models."""
    from model.evaluation.comparison import read_comparison
    from pipelines.local_run import RunFolder, run_locally
    from pipelines.progress import StepLines, comparison_table

    name = recipe or default_recipe(data)
    folder = RunFolder(out)
    given = {"source": data, "schema": schema, "store": store, "seed": seed}
    arguments = {key: value for key, value in given.items() if value is not None}
    # The stream is bound here: while kfp runs, sys.stdout is where its noise goes.
    console = Console(file=sys.stdout, highlight=False)
    console.print(f"[bold]{name}[/] on {data or 'a synthetic log'}")
    with StepLines(console) as lines:
        outcome = run_locally(
            folder,
            recipe_text(name),
            {**arguments, "registry": registry or folder.registry},
            lines.show,
            echo=sys.stderr if verbose else None,
        )
    compared = Path(outcome.events["compare"].folder or folder.artifacts)
    shutil.copyfile(compared / "report.html", folder.report)
    console.print()
    console.print(comparison_table(read_comparison(compared)))
    console.print(
        f"\nreport    {folder.report}\nregistry  {registry or folder.registry}\nartifacts {store or folder.artifacts}"
    )
    console.print(f"[dim]{outcome.seconds:.1f} s; everything the steps printed is in {folder.log}[/]")


@app.command("compile")
def compile_command(
    form: Annotated[Kind, typer.Option("--form", help="For this machine or for a cluster.")] = Kind.cluster,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write. [default: standard output]")] = None,
    recipe: RecipeOption = None,
    options: Annotated[
        Path | None, typer.Option("--options", help="YAML: images, resources, GPUs, retries and caching of each step.")
    ] = None,
    manifest: Annotated[
        bool, typer.Option("--kubernetes-manifest", help="Pipeline and PipelineVersion resources for kubectl apply.")
    ] = False,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace of these resources.")] = None,
) -> None:
    """Write the pipeline as a file; `kfp run create --experiment-name NAME -f FILE` starts it."""
    from pipelines.compiling import compile_pipeline, write_text

    text = compile_pipeline(form_of(form, options), recipe_text(recipe or "synthetic"), manifest, namespace)
    if out is None:
        sys.stdout.write(text)
    else:
        write_text(text, out)


def form_of(kind: Kind, options: Path | None) -> Form:
    """The form to compile. Raises UserError when the options are wrong or given for the local form."""
    if kind is Kind.local:
        if options is not None:
            raise UserError("--options is about a cluster's images and resources; the local form has none")
        return Form(kind="local")
    return Form() if options is None else load_form(options)
