"""`mgoe up`, `down`, `status`, `logs`: the serving side on this machine, all of it, as processes."""
# ruff: noqa: PLR0917  # typer reads the signature

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from model.errors import UserError
from serving.stack.folder import StackFolder

if TYPE_CHECKING:
    from serving.stack.plan import Pair

app = typer.Typer(
    help="Two rankers, gateway, evidence, controller and what is there besides, on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

State = Annotated[Path, typer.Option("--state", "-s", envvar="MGOE_STATE", help="The stack's folder.")]
DEFAULT_STATE = Path("runs/stack")
DEFAULT_RUN = Path("runs")


@app.command("up")
def up_command(
    state: State = DEFAULT_STATE,
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="Bundle of the baseline: folder, file:// or s3://.")
    ] = None,
    candidate: Annotated[str | None, typer.Option("--candidate", help="Bundle of the candidate.")] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Folder of `mgoe run`: the bundles that its registry's aliases lead to."),
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option("--registry", help="A registry: the bundles of its aliases. [default: that of the run in runs]"),
    ] = None,
    model: Annotated[str, typer.Option("--model", help="Name of the model in the registry.")] = "mgoe",
    port: Annotated[
        list[str] | None, typer.Option("--port", "-p", help="NAME=PORT, such as gateway=8000. [default: free ones]")
    ] = None,
    scorers: Annotated[
        str | None, typer.Option("--scorers", help="Of the rankers, as in `mgoe serve`. [default: factorised]")
    ] = None,
    rankers: Annotated[
        int | None, typer.Option("--rankers", min=1, max=16, help="Rankers of each arm. [default: 2]")
    ] = None,
    gateways: Annotated[
        int | None, typer.Option("--gateways", min=1, max=16, help="Envoys that share the port. [default: 2]")
    ] = None,
    console: Annotated[
        bool | None, typer.Option("--console/--no-console", help="The web page. [default: where it is installed]")
    ] = None,
) -> None:
    """Start the stack and wait until it is ready; what runs already goes on. Bundles as before need not be named."""
    from serving.stack.pair import kept  # noqa: PLC0415
    from serving.stack.stack import Wish, up  # noqa: PLC0415
    from serving.stack.status_text import Waiting, overview  # noqa: PLC0415

    folder = StackFolder.at(state)
    known = _registry(folder, (baseline, candidate), run, registry)
    pair = _pair((baseline, candidate), known, model)
    wish = Wish(
        pair,
        _ports(port or []),
        scorers=scorers,
        rankers=rankers,
        gateways=gateways,
        registry=None if known is None else kept(known),
        console=console,
    )
    with Waiting(Console(stderr=True)) as waiting:
        seen = up(folder, wish, waiting.show)
    Console().print(overview(seen))


@app.command("down")
def down_command(state: State = DEFAULT_STATE) -> None:
    """End every process of the stack; its evidence and rollouts stay."""
    from serving.stack.stack import down  # noqa: PLC0415

    folder = StackFolder.at(state)
    ended = down(folder)
    typer.echo(f"{ended} processes ended; {folder.root} keeps what they know" if ended else "nothing ran")


@app.command("status")
def status_command(
    state: State = DEFAULT_STATE, as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False
) -> None:
    """Show every process. Exit code 1 unless all are ready."""
    from serving.stack.stack import view  # noqa: PLC0415
    from serving.stack.status_text import as_document, overview  # noqa: PLC0415

    seen = view(StackFolder.at(state))
    if as_json:
        typer.echo(as_document(seen))
    else:
        Console().print(overview(seen))
    raise typer.Exit(0 if seen.ready else 1)


@app.command("logs")
def logs_command(
    name: Annotated[str | None, typer.Argument(help="One process; without it, all.", show_default=False)] = None,
    state: State = DEFAULT_STATE,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written (until Ctrl-C).")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Last lines of each.")] = 50,
) -> None:
    """Show what the processes of the stack wrote."""
    from serving.stack.log_text import show_logs  # noqa: PLC0415

    show_logs(StackFolder.at(state), name, lines, follow=follow)


def _registry(
    folder: StackFolder, named: tuple[str | None, str | None], run: Path | None, registry: str | None
) -> str | None:
    """The registry that the options mean; None: the bundles are named, or those of the folder's stack."""
    from serving.stack.pair import REGISTRY_FILE  # noqa: PLC0415

    if named != (None, None):
        if run is not None or registry is not None:
            raise UserError("--baseline and --candidate name the bundles: leave --run and --registry out")
        return None
    if run is not None and registry is not None:
        raise UserError("--run and --registry both name a registry: leave one out")
    if run is None and registry is None and folder.plan.exists():
        return None
    return registry or f"sqlite:///{((run or DEFAULT_RUN) / REGISTRY_FILE).absolute()}"


def _pair(named: tuple[str | None, str | None], registry: str | None, model: str) -> Pair | None:
    """The bundles that the options mean; None: those of the folder's stack."""
    from serving.stack.pair import named_pair, registered_pair  # noqa: PLC0415

    return named_pair(*named) if registry is None else registered_pair(registry, model)


def _ports(options: list[str]) -> dict[str, int]:
    ports = {}
    for option in options:
        name, _, number = option.partition("=")
        if not number.isdecimal() or not 1 <= int(number) <= 65535:
            raise UserError(f"--port {option}: write NAME=PORT, such as gateway=8000")
        ports[name] = int(number)
    return ports
