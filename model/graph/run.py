"""From a log artifact, or from a raw log with dense ids, to a macro graph artifact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from model.artifact.manifest import Manifest, digest_of_file, digest_of_files, read_manifest
from model.artifact.writer import ArtifactWriter
from model.data.artifact import read_dataset
from model.data.replayed_history import REPLAYED_WHOLE, replayed_whole
from model.data.schema_file import SCHEMA_NAME
from model.errors import UserError
from model.graph.align import align
from model.graph.artifact import DENSE_IDS, read_graph, write_graph
from model.graph.build import Progress, build, build_with_pairs
from model.graph.config import GraphConfig
from model.graph.dense_log import dense_log
from model.graph.events import ParquetEvents
from model.graph.grouping import group_sizes
from model.graph.macro_graph import MacroGraph
from model.graph.pair_state import UPDATABLE, read_state
from model.graph.threads import Crew
from model.graph.update import UpdateOptions, update


def build_graph(
    log: Path, out: Path, config: GraphConfig, progress: Progress | None = None, *, crew: Crew | None = None
) -> Manifest:
    """Builds the graph of the log artifact `log` into `out`; the log stays on disk and is streamed.

    crew: who works on the shards, instead of threads; the graph is the same. Raises UserError where `log` is no log
    artifact or the options do not fit it, Fault on a full disk.
    """
    source = read_manifest(log)
    if source.kind != "log":
        raise UserError(f"{log}: a {source.kind} artifact, where a log is needed")
    with ArtifactWriter(out, "macro-graph", "mgoe graph build", [source.source()]) as writer:
        dataset = read_dataset(log.absolute(), mapped=True)
        graph = build(dataset, config, source.digest, progress, crew=crew, out=writer.path)
        write_graph(graph, writer.path)
        writer.facts.update(facts_of(graph))
        if replayed_whole(dataset):
            writer.facts["notice"] = REPLAYED_WHOLE
    return writer.manifest


def stream_graph(
    log: str,
    out: Path,
    config: GraphConfig,
    progress: Progress | None = None,
    *,
    updatable: bool = False,
    crew: Crew | None = None,
) -> Manifest:
    """Builds the graph of the raw log folder `log`, whose ids are dense integers, into `out` without ingesting it.

    Node i + 1 is the user or item of id i; `align_graph` makes of it the graph of a log artifact. updatable: keeps
    beside it what `update_graph` goes on from. crew: who works on the shards, instead of threads. Raises UserError
    where ids, options or schema do not allow it, Fault on a full disk.
    """
    if "category" in (config.features, config.item_grouping):
        raise UserError("a streamed log has no item features to group by: use features=folded, item_grouping=cluster")
    if updatable and config.neighbour_means:
        raise UserError("--updatable: a graph with neighbour means is not updated; set neighbour_means=false")
    folder = _local(log)
    source = dense_log(folder)
    if updatable and config.snapshots == "single" and source.span.validate_from > source.span.end:
        raise UserError(
            f"--updatable: log {log} ends before its split's validate_from, up to which the graph would stand for all"
            " rows; set that to the log's end at most, so that the rows between can be added"
        )
    with ArtifactWriter(out, "macro-graph", "mgoe graph stream") as writer:
        built = build_with_pairs(
            source, config, _digest_of(source, folder), progress, keep=updatable, crew=crew, out=writer.path
        )
        write_graph(built.graph, writer.path)
        if built.pairs is not None:
            last = built.graph.snapshots[-1].as_of
            span = source.span
            built.pairs.write(writer.path, last, source.catalogue.levels, span.timezone, log_end=span.end)
        writer.facts.update(facts_of(built.graph) | {DENSE_IDS: True, UPDATABLE: updatable})
    return writer.manifest


def update_graph(
    graph: Path,
    log: str,
    out: Path,
    options: UpdateOptions,
    *,
    skip_inside: bool = False,
    working: dict[str, int] | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Adds the rows of the raw log folder `log` to the streamed graph `graph`, as a new graph `out`.

    skip_inside: leaves rows that the graph holds already out instead of refusing them. working: memory_mb and threads
    instead of the graph's own. Raises UserError where graph and log do not fit (model.graph.update), Fault on a full
    disk; nothing half-written is left.
    """
    made = read_manifest(graph)
    if made.kind != "macro-graph" or not made.facts.get(DENSE_IDS):
        raise UserError(f"{graph}: no graph that `mgoe graph stream` made; the graph of a log artifact is built again")
    state, before = read_state(graph), read_graph(graph)
    if before.snapshots[-1].as_of != state.as_of:
        raise UserError(f"{graph}: its pairs are of another moment than its last snapshot; stream the log again")
    before = replace(before, config=before.config.model_copy(update=working or {}))
    folder = _local(log)
    day = dense_log(folder, split=False)
    if skip_inside:
        day = _since(state.inside_until, day)
    with ArtifactWriter(out, "macro-graph", "mgoe graph update", [made.source()]) as writer:
        updated = update(before, state, day, _digest_of(day, folder), options, progress=progress)
        write_graph(updated.graph, writer.path)
        last = updated.graph.snapshots[-1].as_of
        updated.pairs.write(writer.path, last, state.levels, state.timezone, log_end=updated.log_end)
        writer.facts.update(facts_of(updated.graph) | {DENSE_IDS: True, UPDATABLE: True, "added_rows": updated.rows})
        old = _old_two_hops(made, updated.graph, options)
        writer.facts |= {"old_two_hops": old, "two_hop_as_of": int(old.get(str(last), last))}
        for side, moved in updated.churn.items():
            writer.facts[f"{side}_churn"] = {"share": moved.moved, "weighted": moved.weighted}
    return writer.manifest


def _since(moment: int, day: ParquetEvents) -> ParquetEvents:
    if day.span.end <= moment:
        raise UserError(f"log {day.path}: it has no row at or after {moment}, before which all is inside")
    return replace(day, within=(moment, day.span.end))


def _old_two_hops(made: Manifest, graph: MacroGraph, options: UpdateOptions) -> dict[str, float]:
    """The moments of the snapshots whose second hop was left for later, each with the moment that it is of."""
    known = made.facts.get("old_two_hops", {})
    before = known if isinstance(known, dict) else {}
    last = int(str(made.facts["last_moment"]))
    old = {snapshot.as_of: before.get(str(snapshot.as_of)) for snapshot in graph.snapshots}
    if options.two_hop == "later":
        old |= {moment: before.get(str(last), last) for moment in old if moment > last}
    return {str(moment): of for moment, of in old.items() if of is not None}


def _digest_of(source: ParquetEvents, folder: Path) -> str:
    paths = [path for path in (*source.files(), folder / SCHEMA_NAME) if path.exists()]
    return digest_of_files({str(path.relative_to(folder)): digest_of_file(path) for path in paths})


def align_graph(graph: Path, log: Path, out: Path) -> Manifest:
    """Makes of the streamed graph `graph` the graph of the log artifact `log`, whose ids are the streamed log's.

    Raises UserError where the two do not fit: no streamed graph, other tasks, no common node, a log that validates on
    what the groups were fitted on.
    """
    streamed, ingested = read_manifest(graph), read_manifest(log)
    if streamed.kind != "macro-graph" or not streamed.facts.get(DENSE_IDS):
        raise UserError(f"{graph}: no graph that `mgoe graph stream` made; the graph of a log artifact fits it already")
    if ingested.kind != "log":
        raise UserError(f"{log}: a {ingested.kind} artifact, where a log is needed")
    with ArtifactWriter(out, "macro-graph", "mgoe graph align", [ingested.source(), streamed.source()]) as writer:
        aligned = align(read_graph(graph), read_dataset(log, mapped=True), ingested.digest)
        write_graph(aligned.graph, writer.path)
        writer.facts.update(facts_of(aligned.graph))
        writer.facts.update({"users_in_graph": aligned.users, "items_in_graph": aligned.items})
    return writer.manifest


def _local(log: str) -> Path:
    if "://" in log and not log.startswith("file://"):
        raise UserError(f"log {log}: a streamed log is read from a local folder; copy it, or ingest it from there")
    return Path(log.removeprefix("file://")).absolute()  # workers may stand in another folder


def facts_of(graph: MacroGraph) -> dict[str, str | int | float | bool | list[str] | dict[str, float]]:
    """What the manifest says of a graph."""
    users = group_sizes(graph.user_group, graph.n_user_groups)
    items = group_sizes(graph.item_group, graph.n_item_groups)
    return {
        "version": graph.version,
        "tasks": list(graph.tasks),
        "snapshots": len(graph.snapshots),
        "last_moment": graph.snapshots[-1].as_of,
        "trainable_from": graph.trainable_from,
        "users": len(graph.user_group) - 1,
        "items": len(graph.item_group) - 1,
        "user_groups": graph.n_user_groups,
        "item_groups": graph.n_item_groups,
        "cold_users": int(users[0]),
        "cold_items": int(items[0]),
        "largest_user_group": int(np.max(users[1:])),
        "largest_item_group": int(np.max(items[1:])),
    }
