"""Commands of the pipeline: run it here; compile, submit and schedule it for a cluster."""
# ruff: noqa: PLC0415, PLR0917  # kfp takes a second to load, and typer reads the signature

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console

from components.events import Event
from components.images import PIPELINE_IMAGE
from components.register_rollout.document import rollout_document
from model.errors import UserError
from model.registry.gate import GateRefused
from pipelines.endpoint import host_and_port
from pipelines.form import Form, load_form
from pipelines.recipe_text import default_recipe, recipe_text, suited_text
from pipelines.rendering import write_text
from serving.rollout.place import DEFAULT_STORE

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The pipeline: run, compile, submit, schedule.",
)


ROLLOUTS = Path(os.environ.get("MGOE_ROLLOUTS", DEFAULT_STORE))
"""The local controller's database, as `mgoe rollout` has it."""


class Kind(StrEnum):
    """Compiled forms."""

    local = "local"
    cluster = "cluster"


class TrainerKind(StrEnum):
    """Where the train steps train."""

    pod = "pod"
    rayjob = "rayjob"
    trainjob = "trainjob"


OptionsOption = Annotated[
    Path | None, typer.Option("--options", help="YAML: images, resources, GPUs, retries and caching of each step.")
]
MarOption = Annotated[bool, typer.Option("--mar", help="Make archives for TorchServe of both bundles, too.")]
RolloutOption = Annotated[
    Path | None,
    typer.Option("--rollout", help="A ModelRollout without its models: the registered pair is put under it."),
]
TrainerOption = Annotated[
    TrainerKind | None,
    typer.Option("--trainer", help="Where models train: the step's pod, a RayJob or a TrainJob. [default: pod]"),
]
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
    mar: MarOption = False,
    rollout: RolloutOption = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live/--no-live", help="Go on with a rollout of the pair on this machine, before simulated users."
        ),
    ] = True,
    keep_up: Annotated[
        bool, typer.Option("--keep-up", help="Leave the stack of that rollout up, with its console (`mgoe down`).")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what the steps print.")] = False,
) -> None:
    """Run the whole pipeline on this machine: a log to two compared and registered models, and one of them promoted."""
    if schema is not None and data is None:
        raise UserError(
            f"--schema {schema} is for a log of your own, and the synthetic one has its own: give --data, too"
        )
    _check_reach(data, store, registry, live=live and rollout is None)
    from model.evaluation.comparison import read_comparison
    from pipelines.compiling import compile_pipeline
    from pipelines.local_run import RunFolder, run_locally
    from pipelines.lock import held
    from pipelines.progress import StepLines, comparison_table

    name = recipe or default_recipe(data)
    form = form_of(Kind.local, None, mar=mar, rollout=rollout)
    pipeline = compile_pipeline(form, suited_text(name, data, schema))
    folder = RunFolder(out)
    given = {"source": data, "schema": schema, "store": store, "seed": seed}
    arguments = {key: value for key, value in given.items() if value is not None}
    # The stream is bound here: while kfp runs, sys.stdout is where its noise goes.
    console = Console(file=sys.stdout, highlight=False)
    refused: GateRefused | None = None
    started = time.monotonic()
    with held(folder.root) as lock:
        console.print(f"[bold]{name}[/] on {data or 'a synthetic log'}")
        with StepLines(console) as lines:
            try:
                run_locally(
                    folder,
                    pipeline,
                    {**arguments, "registry": registry or folder.registry},
                    lines.show,
                    echo=sys.stderr if verbose else None,
                    lock=lock,
                )
            except GateRefused as verdict:  # the models are there and compared all the same: show why
                refused = verdict
        comparison = Path(lines.ended["compare"].folder or folder.artifacts)
        shutil.copyfile(comparison / "report.html", folder.report)
        console.print()
        console.print(comparison_table(read_comparison(comparison)))
        try:
            if live and refused is None and rollout is None:
                _live(console, folder.root, lines.ended, registry or folder.registry, keep_up=keep_up)
        finally:  # however the rollout ends: the pair is trained and registered
            # A path is one word, also where the output is a file.
            console.print(f"\nreport     {folder.report}\nregistry   {registry or folder.registry}", soft_wrap=True)
            console.print(f"artifacts  {store or folder.artifacts}", soft_wrap=True)
            took = f"{time.monotonic() - started:.1f} s; everything the steps printed is in {folder.log}"
            console.print(f"[dim]{took}[/]", soft_wrap=True)
    if refused is not None:
        raise refused


def _check_reach(data: str | None, store: str | None, registry: str | None, *, live: bool) -> None:
    from pipelines.reach import check_live, check_log, check_registry, check_store

    if data is not None:
        check_log(data)
    if store is not None:
        check_store(store)
    if registry is not None:
        check_registry(registry)
    if live:
        check_live()


def _live(console: Console, out: Path, ended: Mapping[str, Event], registry: str, *, keep_up: bool) -> None:
    """The rollout of the pair that was registered."""
    from pipelines.live_progress import LiveLines, closing
    from pipelines.live_rollout import LiveSettings
    from pipelines.live_run import LiveInputs, run_live

    log, baseline, candidate = (
        Path(ended[step].folder or "") for step in ("ingest", "package baseline", "package candidate")
    )
    inputs = LiveInputs(log, baseline, candidate, out, registry)
    with LiveLines(console) as lines:
        end = run_live(inputs, LiveSettings(), lines, keep_up=keep_up)
    console.print(closing(end, inputs, kept=keep_up))


@app.command("compile")
def compile_command(
    form: Annotated[Kind, typer.Option("--form", help="For this machine or for a cluster.")] = Kind.cluster,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write. [default: standard output]")] = None,
    recipe: RecipeOption = None,
    options: OptionsOption = None,
    trainer: TrainerOption = None,
    mar: MarOption = False,
    rollout: RolloutOption = None,
    manifest: Annotated[
        bool, typer.Option("--kubernetes-manifest", help="Pipeline and PipelineVersion resources for kubectl apply.")
    ] = False,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace of these resources.")] = None,
) -> None:
    """Write the pipeline as a file; `kfp run create --experiment-name NAME -f FILE` starts it."""
    from pipelines.compiling import compile_pipeline

    if namespace is not None and not manifest:
        raise UserError("--namespace is that of the resources of --kubernetes-manifest; give both, or neither")
    text = compile_pipeline(
        form_of(form, options, trainer, mar=mar, rollout=rollout),
        recipe_text(recipe or "synthetic"),
        manifest,
        namespace,
    )
    _hand_out(text, f"{form} pipeline", out)


def form_of(
    kind: Kind,
    options: Path | None,
    trainer: TrainerKind | None = None,
    *,
    mar: bool = False,
    rollout: Path | None = None,
) -> Form:
    """The form to compile. Raises UserError when the options are wrong or given for the local form."""
    if kind is Kind.local:
        for flag, given in (("--options", options), ("--trainer", trainer)):
            if given is not None:
                raise UserError(f"{flag} is about a cluster's images and resources; the local form has none")
        return _rolled_out(Form(kind="local", mar=mar, rollouts=str(ROLLOUTS.absolute())), rollout)
    form = Form() if options is None else load_form(options)
    if trainer is not None:
        form = form.model_copy(update={"trainer": form.trainer.model_copy(update={"kind": trainer.value})})
    return _rolled_out(form.model_copy(update={"mar": form.mar or mar}), rollout)


def _rolled_out(form: Form, rollout: Path | None) -> Form:
    if rollout is None:
        return form
    try:
        text = rollout.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"rollout {rollout} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    rollout_document(text, f"rollout {rollout}")
    return form.model_copy(update={"rollout": text})


ParameterOption = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", help="Pipeline parameter, such as source=s3://bucket/log; repeat."),
]


@app.command("submit")
def submit_command(
    endpoint: Annotated[
        str, typer.Option("--endpoint", envvar="KF_PIPELINES_ENDPOINT", help="URL of Kubeflow Pipelines.")
    ],
    experiment: Annotated[str, typer.Option("--experiment", help="Made where it is absent.")] = "mgoe",
    run_name: Annotated[str | None, typer.Option("--run", help="Name of the run. [default: with the time]")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Compiled pipeline. [default: made now]")] = None,
    recipe: RecipeOption = None,
    options: OptionsOption = None,
    trainer: TrainerOption = None,
    mar: MarOption = False,
    rollout: RolloutOption = None,
    param: ParameterOption = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Profile of the run, on multi-user installations.")
    ] = None,
    pipeline_root: Annotated[str | None, typer.Option("--pipeline-root", help="Where Kubeflow keeps outputs.")] = None,
    service_account: Annotated[
        str | None, typer.Option("--service-account", help="Of the run's pods. [default: the installation's]")
    ] = None,
    caching: Annotated[
        bool | None, typer.Option("--caching/--no-caching", help="For all steps, instead of each one's own.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent, send nothing.")] = False,
) -> None:
    """Start a run on Kubeflow Pipelines; the token comes from MGOE_KFP_TOKEN."""
    from pipelines.compiling import compile_pipeline
    from pipelines.submission import (
        Submission,
        check_arguments,
        describe,
        parse_arguments,
        read_compiled,
        submit,
        token_from_environment,
    )

    host_and_port(endpoint)
    arguments = parse_arguments(param or [])
    chosen = recipe or _suited(arguments)
    if file is not None:
        flags = {"--recipe": recipe, "--options": options, "--trainer": trainer, "--rollout": rollout}
        _check_compiled_already({**flags, "--mar": mar or None})
    with tempfile.TemporaryDirectory() as folder:
        package = file
        if package is None:
            package = Path(folder) / "pipeline.yaml"
            write_text(
                compile_pipeline(
                    form_of(Kind.cluster, options, trainer, mar=mar, rollout=rollout), recipe_text(chosen)
                ),
                package,
            )
        check_arguments(arguments, read_compiled(package))
        submission = Submission(
            endpoint=endpoint,
            file=package,
            experiment=experiment,
            run=run_name or f"mgoe-ranking {datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
            arguments=arguments,
            namespace=namespace,
            pipeline_root=pipeline_root,
            service_account=service_account,
            caching=caching,
        )
        token = token_from_environment()
        if dry_run:
            made_now = {} if file is not None else {"pipeline": f"compiled from recipe {chosen}"}
            sys.stdout.write(yaml.safe_dump(describe(submission, token) | made_now, sort_keys=False))
            return
        submitted = submit(submission, token)
    sys.stdout.write(f"run {submitted.run_id} started: {submitted.url}\n")


@app.command("schedule")
def schedule_command(
    cron: Annotated[str, typer.Option("--cron", help="Five fields, such as '0 3 * * *'.")],
    endpoint: Annotated[
        str,
        typer.Option("--endpoint", envvar="KF_PIPELINES_ENDPOINT", help="URL of Kubeflow Pipelines in the cluster."),
    ],
    experiment: Annotated[str, typer.Option("--experiment", help="Made where it is absent.")] = "mgoe",
    name: Annotated[str, typer.Option("--name", help="Name of the CronWorkflow.")] = "mgoe-ranking",
    timezone: Annotated[str, typer.Option("--timezone", help="IANA zone that the fields are read in.")] = "UTC",
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace of the CronWorkflow.")] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", help="Namespace of the runs, on multi-user installations.")
    ] = None,
    service_account: Annotated[str | None, typer.Option("--service-account", help="Of the submitting pod.")] = None,
    image: Annotated[str, typer.Option("--image", help="Image `pipeline`.")] = PIPELINE_IMAGE,
    recipe: RecipeOption = None,
    options: OptionsOption = None,
    trainer: TrainerOption = None,
    mar: MarOption = False,
    rollout: RolloutOption = None,
    param: ParameterOption = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write. [default: standard output]")] = None,
) -> None:
    """Write an Argo CronWorkflow that submits the pipeline on a schedule."""
    from pipelines.compiling import compile_pipeline
    from pipelines.schedule import Schedule, cron_workflow
    from pipelines.submission import parse_arguments

    schedule = Schedule(
        cron=cron,
        endpoint=endpoint,
        experiment=experiment,
        name=name,
        timezone=timezone,
        namespace=namespace,
        profile=profile,
        image=image,
        service_account=service_account,
        arguments=parse_arguments(param or []),
    )
    compiled = compile_pipeline(
        form_of(Kind.cluster, options, trainer, mar=mar, rollout=rollout),
        recipe_text(recipe or _suited(schedule.arguments)),
    )
    _hand_out(cron_workflow(schedule, compiled), f"CronWorkflow {name}", out)


def _check_compiled_already(flags: Mapping[str, object]) -> None:
    """Raises UserError for a flag that says how to compile where the pipeline is given compiled."""
    for flag, given in flags.items():
        if given is not None:
            raise UserError(f"{flag} is for a pipeline that is compiled now, and --file gives one: leave out either")


def _suited(arguments: Mapping[str, str | int]) -> str:
    """The recipe for the log that a submitted run reads."""
    source = arguments.get("source")
    return default_recipe(None if source is None else str(source))


def _hand_out(text: str, what: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
    else:
        write_text(text, out)
        sys.stdout.write(f"{what} written to {out}\n")
