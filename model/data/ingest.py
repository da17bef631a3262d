"""Raw log -> log artifact: passes over the log in bounded batches; encoded rows go to the artifact's files at once.

Pass 1 counts the times and cuts the split. Pass 2 collects the ids that are known before validation begins and fits the
context encoders on the training days. Pass 3 encodes every row. Node features come last, fitted by how often a node was
met in history and training. Memory follows the nodes; only history without times is held, by its order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from model.artifact.manifest import Manifest
from model.artifact.writer import ArtifactWriter
from model.data.artifact import write_dataset, write_encoders
from model.data.check import refuse_errors
from model.data.dataset import Columns, Dataset, Int64, Interactions, Nodes
from model.data.encoding import Encoders, Fitting, Scale, Vocabulary, as_text
from model.data.mapped_pages import drop_pages
from model.data.place import LogPlace, open_place
from model.data.rates import history_rates
from model.data.raw import RawLog
from model.data.replayed_history import REPLAYED_WHOLE, replay_history, replayed_whole
from model.data.row_store import RowStore, TimeOrder
from model.data.schema import LogSchema, NodeFile
from model.data.schema_file import resolve_schema
from model.data.split import Cuts, cut, day_boundaries
from model.data.time_counts import TimeCounts

STRIP = 1 << 20
"""Mapped rows that are read at a time."""


def ingest(source: str, out: Path, schema: str | None = None) -> Manifest:
    """Makes the log artifact `out` of the raw log `source`. Raises UserError (wrong log) or Fault (unreadable one)."""
    place = open_place(source)
    described = resolve_schema(place, schema)
    refuse_errors(place, described)
    with ArtifactWriter(out, "log", made_by="mgoe data ingest") as writer:
        dataset, encoders = assemble(place, described, writer.path)
        write_dataset(dataset, writer.path)
        write_encoders(encoders, writer.path)
        writer.facts.update(facts(dataset))
    return writer.manifest


def facts(dataset: Dataset) -> dict[str, str | int | list[str] | dict[str, float]]:
    """What a reader of the manifest wants to know."""
    shares = _positive_shares(dataset)
    notice: dict[str, str | int | list[str] | dict[str, float]] = {}
    if replayed_whole(dataset):
        notice["notice"] = REPLAYED_WHOLE
    return notice | {
        "name": dataset.schema.name,
        "tasks": list(dataset.schema.task_names),
        "users": len(dataset.users) - 1,
        "items": len(dataset.items) - 1,
        "history_rows": 0 if dataset.history is None else len(dataset.history),
        "train_rows": len(dataset.train),
        "validate_rows": len(dataset.validate),
        "test_rows": len(dataset.test),
        "train_positive_share": shares,
    }


def _positive_shares(dataset: Dataset) -> dict[str, float]:
    """Of the observed training labels of every task that has any."""
    names = dataset.schema.task_names
    positive, observed = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
    for start in range(0, len(dataset.train), STRIP):
        rows = slice(start, start + STRIP)
        positive += (dataset.train.labels[rows] * dataset.train.observed[rows]).sum(axis=0, dtype=np.int64)
        observed += dataset.train.observed[rows].sum(axis=0, dtype=np.int64)
        drop_pages(dataset.train.labels)
        drop_pages(dataset.train.observed)
    return {name: int(p) / int(o) for name, p, o in zip(names, positive, observed, strict=True) if o}


def assemble(place: LogPlace, schema: LogSchema, folder: Path | None = None) -> tuple[Dataset, Encoders]:
    """The dataset and its encoders; rows lie in memory or, mapped, in the log artifact `folder`. Raises UserError."""
    raw = RawLog(place, schema)
    zone = schema.interactions.time.timezone
    times = TimeCounts()
    for batch in raw.batches([schema.interactions.time.column]):
        times.add(raw.seconds(batch))
    cuts = cut(times, schema.split, zone)
    first = int(times.within(*cuts.spans()["train"]).seconds[0])
    known = _fit_rows(raw, cuts)
    history = _history(raw, known, before=first, folder=folder)
    parts = _labelled(raw, known, times, cuts, folder)
    if history is not None and schema.history is not None and schema.history.replay is not None:
        history, parts["train"] = replay_history(history, parts["train"], schema.history.replay, zone)
        first = int(parts["train"].time.min())
    past = [part for part in (history, parts["train"]) if part is not None]
    users, user_encoders = _nodes(raw, schema.users, "user", known.users, _met(past, "user", len(known.users)))
    items, item_encoders = _nodes(raw, schema.items, "item", known.items, _met(past, "item", len(known.items)))
    encoders = replace(known, features={**known.features, **user_encoders, **item_encoders})
    dataset = Dataset(schema, users, items, history, parts["train"], parts["validate"], parts["test"])
    if schema.rates == "daily":
        moments = day_boundaries(first, int(parts["test"].time.max()), zone)
        rows = [*past, parts["validate"], parts["test"]]
        rates = history_rates(rows, moments, len(users), len(items), tasks=schema.task_names)
        dataset = replace(dataset, rates=rates)
    return dataset, encoders


@dataclass
class _Ids:
    """Distinct ids in order of first appearance."""

    values: pl.Series

    def add(self, raw: pl.Series) -> None:
        fresh = as_text(raw).unique(maintain_order=True).rename("value")
        self.values = pl.concat([self.values, fresh]).unique(maintain_order=True).drop_nulls()


def _fit_rows(raw: RawLog, cuts: Cuts) -> Encoders:
    """Encoders of ids (side tables, history, training days) and of context features (training days)."""
    schema = raw.schema
    empty = pl.Series("value", [], dtype=pl.String)
    users, items = _Ids(empty), _Ids(empty)
    for ids, node_file in ((users, schema.users), (items, schema.items)):
        if node_file is not None:
            ids.add(raw.place.read(node_file.path, [node_file.key])[node_file.key])
    if schema.history is not None:
        for batch in raw.history_batches():
            users.add(batch[schema.history.user])
            items.add(batch[schema.history.item])
    context = Fitting(schema.features_of("context"), schema.interactions.time.timezone)
    for batch in raw.batches():
        time = raw.seconds(batch)
        rows = cuts.parts(time)["train"]
        trained = batch.filter(pl.Series(rows))
        users.add(trained[schema.interactions.user])
        items.add(trained[schema.interactions.item])
        context.add(trained, np.ones(len(trained)), time[rows])
    return Encoders(schema, Vocabulary(users.values), Vocabulary(items.values), context.finish())


def _labelled(
    raw: RawLog, known: Encoders, times: TimeCounts, cuts: Cuts, folder: Path | None
) -> dict[str, Interactions]:
    """The rows of train, validate and test, oldest first."""
    log, stores, orders = raw.schema.interactions, {}, {}
    for part, span in cuts.spans().items():
        of_part = times.within(*span)
        part_folder = None if folder is None else folder / part
        stores[part] = RowStore(raw.schema, len(of_part), part_folder, request=log.request is not None)
        orders[part] = TimeOrder(of_part)
    for batch in raw.batches():
        time = raw.seconds(batch)
        labels, observed = raw.labels(batch)
        encoded = Interactions(
            user=known.user_index(batch[log.user]),
            item=known.item_index(batch[log.item]),
            time=time,
            labels=labels,
            observed=observed,
            context=known.columns("context", batch, time),
            request=None if log.request is None else raw.requests(batch),
        )
        for part, rows in cuts.parts(time).items():
            if rows.any():
                stores[part].put(encoded.take(rows), orders[part].places(time[rows]))
    return {part: store.rows for part, store in stores.items()}


def _history(raw: RawLog, known: Encoders, before: int, folder: Path | None) -> Interactions | None:
    """History, oldest first: by time, or by user and `order` where it has no time."""
    schema = raw.schema.history
    if schema is None:
        return None
    times, places = _history_order(raw, known)
    rows = len(times) if places is None else len(places)
    store = RowStore(raw.schema, rows, None if folder is None else folder / "history", request=False)
    order, done = TimeOrder(times), 0
    for batch in raw.history_batches():
        labels, observed = raw.history_labels(batch)
        time = raw.history_seconds(batch)
        encoded = Interactions(
            user=known.user_index(batch[schema.user]),
            item=known.item_index(batch[schema.item]),
            time=np.full(len(batch), before - 1, dtype=np.int64) if time is None else time,
            labels=labels,
            observed=observed,
            context=_blank(raw.schema, len(batch)),
        )
        store.put(encoded, order.places(encoded.time) if places is None else places[done : done + len(batch)])
        done += len(batch)
    return store.rows


def _history_order(raw: RawLog, known: Encoders) -> tuple[TimeCounts, Int64 | None]:
    """Times of the history; or where it has none, the place of every row by user and `order`, as read without one."""
    times, users, orders, rows = TimeCounts(), [], [], 0
    schema = raw.schema.history
    for batch in raw.history_batches():
        time = raw.history_seconds(batch)
        if time is not None:
            times.add(time)
        elif schema is not None and schema.order is not None:
            users.append(known.user_index(batch[schema.user]))
            orders.append(batch[schema.order].to_numpy())
        rows += len(batch)
    if schema is None or schema.time is not None:
        return times, None
    places = np.arange(rows)
    if orders:
        places[np.lexsort((np.concatenate(orders), np.concatenate(users)))] = np.arange(rows)
    return times, places


def _blank(schema: LogSchema, rows: int) -> Columns:
    """Context features of rows that have none."""
    return Columns(
        sparse=np.zeros((rows, len(schema.features_of("context", "sparse"))), np.int32),
        dense=np.zeros((rows, len(schema.features_of("context", "dense"))), np.float32),
        multi=tuple(np.zeros((rows, f.max_length), np.int32) for f in schema.features_of("context", "multi")),
    )


def _nodes(
    raw: RawLog, node_file: NodeFile | None, owner: str, ids: Vocabulary, met_n: Int64
) -> tuple[Nodes, dict[str, Vocabulary | Scale]]:
    """The node table of one side and its feature encoders, fitted by how often each node was met."""
    schema = raw.schema
    nodes = pl.DataFrame({"_id": ids.values})
    if node_file is not None:
        wanted = [f.column for f in schema.features_of(owner) if f.column is not None]
        side = raw.place.read(node_file.path, list(dict.fromkeys([node_file.key, *wanted])))
        keyed = side.with_columns(as_text(side[node_file.key]).alias("_id")).unique("_id", keep="first")
        nodes = nodes.join(keyed, on="_id", how="left", maintain_order="left")
    fitting = Fitting(schema.features_of(owner), schema.interactions.time.timezone)
    fitting.add(nodes, met_n[1:].astype(np.float64))
    encoders = fitting.finish()
    known = Encoders(schema, ids, ids, encoders).columns(owner, nodes)
    seen = met_n > 0
    seen[0] = False
    return Nodes(np.array(["", *ids.values.to_list()], dtype=np.str_), seen, _with_row_0(known)), encoders


def _met(past: list[Interactions], side: str, n: int) -> Int64:
    """Impressions int64 [n] of every node in history and training."""
    counts = np.zeros(n, dtype=np.int64)
    for part in past:
        nodes = getattr(part, side)
        for start in range(0, len(nodes), STRIP):
            counts += np.bincount(nodes[start : start + STRIP], minlength=n)
            drop_pages(nodes)
    return counts


def _with_row_0(columns: Columns) -> Columns:
    def below_zeros(array: np.ndarray) -> np.ndarray:
        return np.concatenate([np.zeros((1, array.shape[1]), array.dtype), array])

    return Columns(below_zeros(columns.sparse), below_zeros(columns.dense), tuple(map(below_zeros, columns.multi)))
