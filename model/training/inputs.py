"""The artifacts that a training run reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model.artifact.manifest import Manifest, read_manifest, verify
from model.data.artifact import read_dataset
from model.data.dataset import Dataset
from model.errors import UserError
from model.graph.artifact import DENSE_IDS, read_graph
from model.graph.macro_graph import MacroGraph


@dataclass(frozen=True)
class Inputs:
    """The artifacts of one run, read. graph: None for models that read none."""

    log_manifest: Manifest
    dataset: Dataset
    graph_manifest: Manifest | None
    graph: MacroGraph | None

    @staticmethod
    def verified(log: Path, graph: Path | None) -> Inputs:
        """As read(), once every file has been found to be as it was made. Workers leave that to who starts them."""
        for folder in (log, graph):
            if folder is not None:
                verify(folder)
        return Inputs.read(log, graph)

    @staticmethod
    def read(log: Path, graph: Path | None) -> Inputs:
        """Raises UserError for a folder that is not the artifact it should be, or a graph of another log."""
        log_manifest = _manifest_of(log, "log")
        graph_manifest = None if graph is None else _manifest_of(graph, "macro-graph")
        if graph_manifest is not None and graph_manifest.facts.get(DENSE_IDS):
            raise UserError(f"graph {graph} is a streamed one: `mgoe graph align` makes of it the graph of log {log}")
        if graph_manifest is not None and log_manifest.source() not in graph_manifest.made_from:
            raise UserError(f"graph {graph} was not built from log {log} (digest {log_manifest.digest[:12]})")
        return Inputs(log_manifest, read_dataset(log), graph_manifest, None if graph is None else read_graph(graph))


def _manifest_of(folder: Path, kind: str) -> Manifest:
    manifest = read_manifest(folder)
    if manifest.kind != kind:
        raise UserError(f"artifact {folder} is a {manifest.kind}, not a {kind}")
    return manifest
