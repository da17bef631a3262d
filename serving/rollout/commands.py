"""`mgoe rollout`: create, watch and steer rollouts of this machine or a cluster, and the processes that move them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.live import Live

from serving.rollout import steering
from serving.rollout.place import placed
from serving.rollout.process_commands import controller, operator
from serving.rollout.resource_file import read_resource
from serving.rollout.sqlite_store import checked
from serving.rollout.state import TERMINAL
from serving.rollout.status_text import UNATTENDED, detail, history, overview, status_of

if TYPE_CHECKING:
    from serving.rollout.desk import Desk

app = typer.Typer(no_args_is_help=True, help="Create, watch and steer rollouts.", pretty_exceptions_enable=False)
app.command()(controller)
app.command()(operator)

Name = Annotated[str, typer.Argument(help="The rollout.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")]
WATCH_S = 1.0


@app.command()
@placed(later=True)
def create(
    desk: Callable[[], Desk],
    file: Annotated[Path, typer.Argument(help="A ModelRollout as YAML.", show_default=False)],
    dry_run: DryRun = False,
) -> None:
    """Create a rollout from a ModelRollout file, or apply a changed one."""
    name, spec = read_resource(file)
    if dry_run:
        Console().print(f"{name}: {file} is valid; nothing was written", soft_wrap=True)
        return
    opened = desk()
    if name in opened.names():
        made = opened.edit(name, lambda old: steering.applied(old, spec))
        _tell(opened, f"{name}: applied, generation {made.generation}, in {opened.place}")
        return
    opened.create(name, spec)
    _tell(opened, f"{name}: created in {opened.place}")


@app.command()
@placed()
def status(
    desk: Desk,
    name: Annotated[str | None, typer.Argument(help="One rollout; without it, all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The stored spec and status.")] = False,
) -> None:
    """Show one rollout, or one line for each."""
    if name is None:
        Console().print(overview(tuple(desk.read(each) for each in desk.names())))
        if desk.attended() is False:
            Console().print(UNATTENDED, soft_wrap=True)
        return
    read = desk.read(name)
    if as_json:
        typer.echo(json.dumps({"name": name, "spec": read.spec, "status": read.status}, indent=2))
        return
    Console().print(detail(read, time.time(), attended=desk.attended()))


@app.command()
@placed()
def watch(desk: Desk, name: Name) -> None:
    """Follow a rollout until it has ended (Ctrl-C leaves it alone)."""

    def seen() -> RenderableType:
        return detail(desk.read(name), time.time(), attended=desk.attended())

    with Live(seen(), console=Console(), refresh_per_second=4) as live:
        while status_of(desk.read(name)).phase not in TERMINAL:
            time.sleep(WATCH_S)
            live.update(seen())


@app.command("history")
@placed()
def show_history(desk: Desk, name: Name) -> None:
    """Every transition with its numbers."""
    desk.read(name)
    Console().print(history(desk.events(name)))


@app.command()
@placed()
def pause(desk: Desk, name: Name, dry_run: DryRun = False) -> None:
    """Hold the weight; guardrails still act."""
    _steer(desk, name, dry_run, lambda spec, _: steering.paused(spec, True), late="pause")


@app.command()
@placed()
def resume(desk: Desk, name: Name, dry_run: DryRun = False) -> None:
    """Let the ramp go on."""
    _steer(desk, name, dry_run, lambda spec, _: steering.paused(spec, False))


@app.command("set-weight")
@placed()
def set_weight(
    desk: Desk,
    name: Name,
    weight: Annotated[
        int | None, typer.Argument(help="Percent for the candidate; without it, the ramp's again.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Give the candidate a weight of your own in this run; the ramp stands still meanwhile."""
    late = None if weight is None else f"weight {weight}"
    _steer(desk, name, dry_run, lambda spec, status: steering.weighted(spec, status, weight), late=late)


@app.command()
@placed()
def promote(
    desk: Desk,
    name: Name,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take a promotion back that has not begun.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Promote the present run without waiting for a win, as soon as nothing is missing, blind or alarmed."""
    _steer(desk, name, dry_run, steering.withdrawn if withdraw else steering.promoted, late="promote")


@app.command()
@placed()
def abort(desk: Desk, name: Name, dry_run: DryRun = False) -> None:
    """Take the candidate to 0 at once, for good."""
    _steer(desk, name, dry_run, lambda spec, _: steering.aborted(spec), late="abort")


@app.command()
@placed()
def ack(desk: Desk, name: Name, dry_run: DryRun = False) -> None:
    """Acknowledge the open sample ratio alarm."""
    _steer(desk, name, dry_run, steering.acknowledged, late="ack")


@app.command()
@placed()
def delete(desk: Desk, name: Name) -> None:
    """Delete a rollout; an unfinished one goes when all traffic is back on the baseline."""
    desk.delete(name)
    _tell(desk, f"{name}: deleted as soon as its traffic is back")


def _steer(
    desk: Desk,
    name: str,
    dry_run: bool,
    change: Callable[[dict[str, Any], Any], dict[str, Any]],
    late: str | None = None,
) -> None:
    """Write a wish, or say what it would change. late: its name, where it makes no sense after the run's end."""
    read = desk.read(name)
    status = status_of(read)
    if late is not None and status.observed_generation >= read.generation:
        steering.require_going_on(status, late)
    wished = change(dict(read.spec), status)
    told = "; ".join(steering.changes(read.spec, checked(wished).to_json()))
    if not dry_run:
        desk.edit(name, lambda spec: change(spec, status))
    _tell(desk, f"{name}: {told or 'nothing changes'}{' (dry run)' if dry_run else ''}")


def _tell(desk: Desk, line: str) -> None:
    """What was done, and that nobody is there to carry it out."""
    Console().print(line, soft_wrap=True, markup=False, highlight=False)
    if desk.attended() is False:
        Console(stderr=True).print(UNATTENDED, soft_wrap=True)
