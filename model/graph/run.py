"""From a log artifact, or from a raw log with dense ids, to a macro graph artifact."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.artifact.manifest import Manifest, digest_of_file, digest_of_files, read_manifest
from model.artifact.writer import ArtifactWriter
from model.data.artifact import read_dataset
from model.data.schema_file import SCHEMA_NAME
from model.errors import UserError
from model.graph.artifact import write_graph
from model.graph.build import Progress, build, build_from
from model.graph.config import GraphConfig
from model.graph.dense_log import dense_log
from model.graph.grouping import group_sizes
from model.graph.macro_graph import MacroGraph


def build_graph(log: Path, out: Path, config: GraphConfig, progress: Progress | None = None) -> Manifest:
    """Builds the graph of the log artifact `log` into `out`; the log stays on disk and is streamed.

    Raises UserError where `log` is no log artifact or the options do not fit it, Fault on a full disk.
    """
    source = read_manifest(log)
    if source.kind != "log":
        raise UserError(f"{log}: a {source.kind} artifact, where a log is needed")
    with ArtifactWriter(out, "macro-graph", "mgoe graph build", [source.source()]) as writer:
        graph = build(read_dataset(log, mapped=True), config, source.digest, progress)
        write_graph(graph, writer.path)
        writer.facts.update(facts_of(graph))
    return writer.manifest


def stream_graph(log: Path, out: Path, config: GraphConfig, progress: Progress | None = None) -> Manifest:
    """Builds the graph of the raw log folder `log`, whose ids are dense integers, into `out` without ingesting it.

    Node i + 1 is the user or item of id i. Raises UserError where ids or schema do not allow it, Fault on a full disk.
    """
    source = dense_log(log)
    paths = [path for path in (*source.files(), log / SCHEMA_NAME) if path.exists()]
    files = {str(path.relative_to(log)): digest_of_file(path) for path in paths}
    with ArtifactWriter(out, "macro-graph", "mgoe graph stream") as writer:
        graph = build_from(source, config, digest_of_files(files), progress)
        write_graph(graph, writer.path)
        writer.facts.update(facts_of(graph))
    return writer.manifest


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
