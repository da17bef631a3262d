"""`mgoe graph`: build, stream, update, align and show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import yaml
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from model.data.refused_field import refusal
from model.errors import UserError
from model.graph.artifact import read_graph
from model.graph.churn import churn
from model.graph.config import GraphConfig
from model.graph.grouping import group_sizes
from model.graph.macro_graph import MacroGraph
from model.graph.run import align_graph, build_graph, stream_graph, update_graph
from model.graph.summary import top_edges
from model.graph.threads import Crew
from model.graph.update import TwoHop, UpdateOptions

app = typer.Typer(add_completion=False, help="Build and inspect macro graphs.", no_args_is_help=True)
_BAR = 28
Workers = Annotated[
    int | None,
    typer.Option(help="Work on the shards in so many Ray tasks at a time instead of in threads.", min=1),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        help="Of a Ray cluster whose nodes mount TMPDIR, the log and --out's folder at the same places;"
        " without it a Ray of this machine."
    ),
]


@app.command("build")
def build_command(
    log: Annotated[Path, typer.Option(help="Log artifact.")],
    out: Annotated[Path, typer.Option(help="Where the graph artifact goes.")],
    config: Annotated[Path | None, typer.Option(help="YAML of graph options; all defaults when absent.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", help="One option, as in --set beta=0.5. Repeatable.")
    ] = None,
    *,
    workers: Workers = None,
    ray_address: RayAddress = None,
) -> None:
    """Build the macro graph of a log."""
    console = Console()
    options = read_config(config, option or [])
    with _crew(workers, ray_address) as crew, console.status("read the log") as status:
        manifest = build_graph(log, out, options, status.update, crew=crew)
    if notice := manifest.facts.get("notice"):
        console.print(str(notice), markup=False)
    console.print(f"graph {out} (version {manifest.facts['version']}, {manifest.facts['snapshots']} snapshots)")


@app.command("stream")
def stream_command(
    log: Annotated[str, typer.Argument(help="Folder of a raw log whose user and item ids are integers from 0 on.")],
    out: Annotated[Path, typer.Option(help="Where the graph artifact goes.")],
    config: Annotated[Path | None, typer.Option(help="YAML of graph options; all defaults when absent.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", help="One option, as in --set features=folded. Repeatable.")
    ] = None,
    *,
    updatable: Annotated[
        bool, typer.Option("--updatable", help="Also keep every merged pair, ten bytes each, to `update` from.")
    ] = False,
    workers: Workers = None,
    ray_address: RayAddress = None,
) -> None:
    """Build the macro graph of a log that is too long to be ingested; `align` fits it to a part that is."""
    console = Console()
    options = read_config(config, option or [])
    with _crew(workers, ray_address) as crew, console.status("read the log") as status:
        manifest = stream_graph(log, out, options, status.update, updatable=updatable, crew=crew)
    console.print(f"graph {out} (version {manifest.facts['version']}, {manifest.facts['snapshots']} snapshots)")


@app.command("update")
def update_command(
    graph: Annotated[Path, typer.Argument(help="Graph that `mgoe graph stream --updatable`, or an update, made.")],
    log: Annotated[str, typer.Option(help="Folder of a raw log with the rows since the graph's last moment.")],
    out: Annotated[Path, typer.Option(help="Where the new graph artifact goes.")],
    *,
    two_hop: Annotated[
        TwoHop,
        typer.Option(
            help="Second hops: `exact` counts all anew; `later` leaves them as they were, in its snapshot for ever:"
            " only the next exact update's snapshot has new ones."
        ),
    ] = "exact",
    regroup: Annotated[
        bool, typer.Option("--regroup", help="Fit groups anew on all before the log; drops the earlier snapshots.")
    ] = False,
    skip_inside: Annotated[
        bool,
        typer.Option("--skip-inside", help="Leave out rows before the graph's last moment instead of refusing them."),
    ] = False,
    keep: Annotated[int | None, typer.Option(help="Earlier snapshots to keep, the last so many.", min=0)] = None,
    memory_mb: Annotated[int | None, typer.Option(help="Working memory instead of the graph's own.", min=64)] = None,
    threads: Annotated[int | None, typer.Option(help="Threads instead of the graph's own.", min=1)] = None,
) -> None:
    """Add a day's rows to a streamed graph: what a rebuild from all rows gives, with the same groups."""
    console = Console()
    working = {name: value for name, value in (("memory_mb", memory_mb), ("threads", threads)) if value is not None}
    options = UpdateOptions(two_hop, regroup, keep)
    with console.status("read the graph") as status:
        facts = update_graph(
            graph, log, out, options, skip_inside=skip_inside, working=working, progress=status.update
        ).facts
    console.print(f"graph {out} (version {facts['version']}, {facts['snapshots']} snapshots)")
    console.print(f"{facts['cold_users']:,} users and {facts['cold_items']:,} items are in no group")
    for side in ("user", "item"):
        moved = facts.get(f"{side}_churn")
        if isinstance(moved, dict):
            console.print(f"{side}s that changed their group: {moved['share']:.1%}, by weight {moved['weighted']:.1%}")


@app.command("align")
def align_command(
    graph: Annotated[Path, typer.Argument(help="Graph that `mgoe graph stream` made.")],
    log: Annotated[Path, typer.Option(help="Log artifact with the same ids, such as the streamed log's last days.")],
    out: Annotated[Path, typer.Option(help="Where the graph artifact of that log goes.")],
) -> None:
    """Make of a streamed graph the graph of an ingested log, to train on."""
    facts = align_graph(graph, log, out).facts
    known = " and ".join(f"{facts[f'{side}_in_graph']:,} of {facts[side]:,} {side}" for side in ("users", "items"))
    Console().print(f"graph {out} (version {facts['version']}); it knows {known} of the log")


@app.command("show")
def show_command(
    graph: Annotated[Path, typer.Argument(help="Graph artifact.")],
    against: Annotated[Path | None, typer.Option(help="Previous graph of the same log, to show churn.")] = None,
    edges: Annotated[int, typer.Option(help="How many of the heaviest macro edges to list.", min=0)] = 10,
) -> None:
    """Show sizes, group histogram, heaviest macro edges and churn."""
    found = read_graph(graph)
    console = Console()
    console.print(_facts_table(found))
    console.print(_moments_line(found))
    for name, group, count in _groupings(found):
        console.print(_size_table(name, group_sizes(group, count)))
    console.print(_edge_table(found, edges))
    if against is not None:
        console.print(_churn_table(found, read_graph(against)))


@contextmanager
def _crew(workers: int | None, address: str | None) -> Iterator[Crew | None]:
    """Ray's tasks where workers are asked for. Raises UserError for an address without workers."""
    if workers is None:
        if address is not None:
            raise UserError("--ray-address: needs --workers, the number of tasks side by side")
        yield None
        return
    from model.graph.ray_tasks import ray_tasks  # noqa: PLC0415 (takes seconds)

    with ray_tasks(workers, address) as crew:
        yield crew


def read_config(path: Path | None, options: list[str]) -> GraphConfig:
    """Graph options from a YAML file and `name=value` overrides. Raises UserError naming field, value and rule."""
    fields: dict[str, Any] = {}
    try:
        if path is not None:
            fields = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for text in options:
            name, separator, value = text.partition("=")
            if not separator:
                raise UserError(f"--set {text}: needs the form name=value, such as beta=0.5")
            fields[name.strip()] = yaml.safe_load(value)
        return GraphConfig.model_validate(fields)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, TypeError) as error:
        raise UserError(
            f"{path or '--set'}: no YAML of option names and values ({' '.join(str(error).split())})"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise UserError(f"graph option {name}: {refusal(first)}") from None


def _groupings(graph: MacroGraph) -> list[tuple[str, Any, int]]:
    return [("user", graph.user_group, graph.n_user_groups), ("item", graph.item_group, graph.n_item_groups)]


def _facts_table(graph: MacroGraph) -> Table:
    table = Table("", "users", "items", title=f"Macro graph {graph.version}")
    sizes = [group_sizes(group, count) for _, group, count in _groupings(graph)]
    table.add_row("nodes", *(f"{size.sum():,}" for size in sizes))
    table.add_row("groups", *(f"{len(size) - 1}" for size in sizes))
    table.add_row("empty groups", *(f"{np.count_nonzero(size[1:] == 0)}" for size in sizes))
    table.add_row("cold nodes (group 0)", *(f"{size[0]:,}" for size in sizes))
    last = graph.snapshots[-1]
    for name in ("hop1", "hop2"):
        kept = [np.count_nonzero(getattr(side, name).macro) for side in (last.user, last.item)]
        table.add_row(f"macro edges, {name}", *(f"{count:,}" for count in kept))
    return table


def _moments_line(graph: MacroGraph) -> str:
    moments = (graph.snapshots[0].as_of, graph.snapshots[-1].as_of, graph.trainable_from)
    first, last, trainable = (f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC" for moment in moments)
    return (
        f"tasks {' < '.join(graph.tasks)}; {len(graph.snapshots)} snapshots from {first} to {last}; "
        f"rows may be trained on from {trainable}"
    )


def _size_table(name: str, sizes: np.ndarray[Any, np.dtype[np.int64]]) -> Table:
    """Groups by size class: powers of two."""
    table = Table("nodes in the group", "groups", "", title=f"Sizes of {name} groups")
    classes = np.floor(np.log2(np.maximum(sizes[1:], 1))).astype(int)
    for level in range(int(classes.max(initial=0)) + 1):
        count = int(np.count_nonzero((classes == level) & (sizes[1:] > 0)))
        bar = "█" * round(_BAR * count / max(len(classes), 1))
        table.add_row(f"{2**level:,} to {2 ** (level + 1) - 1:,}", str(count), bar)
    return table


def _edge_table(graph: MacroGraph, count: int) -> Table:
    table = Table("user group", "item group", "weight", "share of the user group", title="Heaviest macro edges")
    for edge in top_edges(graph, count):
        table.add_row(str(edge.user_group), str(edge.item_group), f"{edge.weight:,.1f}", f"{edge.share:.1%}")
    return table


def _churn_table(now: MacroGraph, previous: MacroGraph) -> Table:
    table = Table("", "nodes in both", "moved", title=f"Churn against {previous.version}")
    table.add_row("users", *_churn_row(previous.user_group, now.user_group))
    table.add_row("items", *_churn_row(previous.item_group, now.item_group))
    return table


def _churn_row(previous: Any, now: Any) -> tuple[str, str]:
    found = churn(previous, now)
    return f"{found.compared:,}", f"{found.moved:.1%}"
