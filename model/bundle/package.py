"""package(): from a trained model, its log and its graph to a bundle that serving loads."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from torch import Tensor

from model.artifact.manifest import Kind, Manifest, read_manifest, verify
from model.artifact.writer import ArtifactWriter
from model.bundle.bundle import read_verified
from model.bundle.context_encoder import SCALES, VOCABULARIES
from model.bundle.id_index import IdIndex
from model.bundle.layout import ENCODERS, ITEMS, MODEL, SERVING, SPEC, USERS, WEIGHTS, Serving
from model.bundle.node_tables import latest, write_side
from model.bundle.probe import write_probes
from model.bundle.probe_choice import ProbeChoice
from model.bundle.reference import probabilities
from model.bundle.trainer_scores import trainer_scores
from model.bundle.utility import weights_of
from model.data.artifact import read_dataset, read_encoders
from model.data.dataset import Dataset, Nodes
from model.data.encoding import Encoders, Scale
from model.data.schema_file import SCHEMA_NAME
from model.errors import UserError
from model.graph.artifact import read_graph
from model.graph.macro_graph import MacroGraph
from model.training.trained import TrainedModel, check_encoders


@dataclass(frozen=True)
class _Parts:
    """What is packaged. graph: None where the model was trained without one."""

    trained: TrainedModel
    dataset: Dataset
    encoders: Encoders
    graph: MacroGraph | None
    sources: tuple[Manifest, ...]


def package(
    model: Path,
    log: Path,
    graph: Path | None,
    out: Path,
    utility: Mapping[str, float] | None = None,
    *,
    probes: int = 64,
) -> Manifest:
    """Writes the bundle of the model artifact `model` to `out`.

    graph: the one that the model was trained on; left unread for a model without. utility: default weight of each task
    in the combined score (absent: 1 each; tasks left out: 0). probes: how many requests the probe set holds.
    Raises UserError for artifacts that do not belong together, Fault where the written files do not score the probes as
    the trainer does; then nothing is kept.
    """
    parts = _read(model, log, graph)
    weights = weights_of(utility, parts.trained.store.spec.tasks)
    choice = ProbeChoice(parts.dataset.users, parts.dataset.items, parts.encoders)
    requests = choice.draw(probes, since=_latest_moment(parts))
    probability_NT = trainer_scores(parts.trained, parts.encoders, requests)
    with ArtifactWriter(out, "bundle", "mgoe bundle package", [made.source() for made in parts.sources]) as writer:
        _write(parts, model, log, weights, writer.path)
        write_probes(requests, probability_NT, writer.path)
        _prove(writer.path, out)
        writer.facts |= _facts(parts, weights, len(requests))
    return writer.manifest


def _read(model: Path, log: Path, graph: Path | None) -> _Parts:
    model_manifest, log_manifest = _manifest_of(model, "model"), _manifest_of(log, "log")
    if not model_manifest.facts.get("graph_version"):
        graph = None
    graph_manifest = None if graph is None else _manifest_of(graph, "macro-graph")
    check_encoders(model, model_manifest.facts, log_manifest)
    dataset, encoders = read_dataset(log, mapped=True), read_encoders(log)
    _check_ids(log, "user", dataset.users, encoders)
    _check_ids(log, "item", dataset.items, encoders)
    macro_graph = None if graph is None else read_graph(graph)
    trained = TrainedModel.load(model, dataset, macro_graph)
    sources = tuple(made for made in (model_manifest, log_manifest, graph_manifest) if made is not None)
    return _Parts(trained, dataset, encoders, macro_graph, sources)


def _write(parts: _Parts, model: Path, log: Path, utility: Mapping[str, float], folder: Path) -> None:
    for name in (WEIGHTS, MODEL, SPEC):
        shutil.copyfile(model / name, folder / name)
    shutil.copyfile(log / SCHEMA_NAME, folder / SCHEMA_NAME)
    store = parts.trained.store
    sides = (USERS, store.user_table, parts.encoders.users), (ITEMS, store.item_table, parts.encoders.items)
    for name, table, vocabulary in sides:
        write_side(latest(table), folder / name)
        IdIndex.of(vocabulary.values.to_list()).save(folder / name)
    _write_context_encoders(parts.encoders, folder / ENCODERS)
    serving = Serving(
        tasks=store.spec.tasks,
        utility=utility,
        graph_as_of=_last(store.snapshots_S),
        rates_as_of=_last(store.moments_R),
        history_rates=parts.trained.training.history_rates,
        graph_version="" if parts.graph is None else parts.graph.version,
        timezone=parts.dataset.schema.interactions.time.timezone,
    )
    (folder / SERVING).write_text(serving.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _write_context_encoders(encoders: Encoders, folder: Path) -> None:
    """Of the request's features only: those of users and items stand encoded in their tables."""
    folder.mkdir()
    values = [pl.DataFrame(schema={"feature": pl.String, "value": pl.String})]
    scales = []
    for feature in encoders.schema.features_of("context"):
        encoder = encoders.features[feature.name]
        if isinstance(encoder, Scale):
            scales.append((feature.name, encoder.mean, encoder.deviation))
        else:
            values.append(
                pl.DataFrame({"value": encoder.values}).select(pl.lit(feature.name).alias("feature"), "value")
            )
    pl.concat(values).write_parquet(folder / VOCABULARIES)
    types = {"feature": pl.String, "mean": pl.Float64, "deviation": pl.Float64}
    pl.DataFrame(scales, schema=types, orient="row").write_parquet(folder / SCALES)


def _prove(folder: Path, out: Path) -> None:
    """Reads the files that were just written, as a server does, and scores their probes."""
    bundle = read_verified(folder, Manifest(kind="bundle", made_by="", files={}, digest=""))
    for probe in bundle.probes:
        asked = probe.request
        probe.check(probabilities(bundle, asked.user, asked.items, asked.context, asked.time), f"bundle {out}")


def _latest_moment(parts: _Parts) -> int:
    """The first second at which the trainer's store reads the tables that the bundle keeps."""
    store = parts.trained.store
    known = [moment for moments in (store.snapshots_S, store.moments_R) if (moment := _last(moments)) is not None]
    return max(known, default=int(parts.dataset.train.time[-1]))


def _last(moments: Tensor) -> int | None:
    return int(moments[-1]) if len(moments) else None


def _check_ids(log: Path, side: str, nodes: Nodes, encoders: Encoders) -> None:
    known = (encoders.users if side == "user" else encoders.items).values
    if nodes.ids[1:].tolist() != known.to_list():
        raise UserError(f"log {log}: its {side} table and its {side} encoder name other ids; ingest the log anew")


def _manifest_of(folder: Path, kind: Kind) -> Manifest:
    manifest = read_manifest(folder) if kind == "model" else verify(folder)
    if manifest.kind != kind:
        raise UserError(f"{folder} holds a {manifest.kind} artifact; this needs one of kind {kind}")
    return manifest


def _facts(
    parts: _Parts, utility: Mapping[str, float], probes: int
) -> dict[str, str | int | float | bool | list[str] | dict[str, float]]:
    facts = parts.trained.manifest.facts
    return {
        "role": str(facts.get("role", "")),
        "architecture": parts.trained.model.architecture,
        "tasks": list(parts.trained.store.spec.tasks),
        "utility": dict(utility),
        "users": len(parts.dataset.users) - 1,
        "items": len(parts.dataset.items) - 1,
        "run_id": str(facts.get("run_id", "")),
        "graph_version": "" if parts.graph is None else parts.graph.version,
        "model_digest": parts.trained.manifest.digest,
        "probes": probes,
    }
