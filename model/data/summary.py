"""Tables that describe an ingested log to a person."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
from rich.table import Table

from model.data.dataset import Dataset, Interactions
from model.data.encoding import Encoders


def describe_parts(dataset: Dataset) -> Table:
    """Rows, time span, positives per task, and the share of rows whose user or item was never met before validation."""
    zone = ZoneInfo(dataset.schema.interactions.time.timezone)
    parts = {name: rows for name in ("history", "train", "validate", "test") if (rows := getattr(dataset, name))}
    table = Table(
        title=f"{dataset.schema.name}: {len(dataset.users) - 1:,} users, {len(dataset.items) - 1:,} items",
        caption="per task: share of positives",
    )
    table.add_column("")
    for name in parts:
        table.add_column(name, justify="right")
    table.add_row("rows", *(f"{len(rows):,}" for rows in parts.values()))
    for title, end in (("from", 0), ("to", -1)):
        table.add_row(title, *(_moment(dataset, name, int(rows.time[end]), zone) for name, rows in parts.items()))
    for place, task in enumerate(dataset.schema.task_names):
        table.add_row(task, *(_positives(rows, place) for rows in parts.values()))
    for title, nodes, side in (("new users", dataset.users, "user"), ("new items", dataset.items, "item")):
        table.add_row(title, *(f"{1 - nodes.seen[getattr(rows, side)].mean():.1%}" for rows in parts.values()))
    return table


def describe_features(dataset: Dataset, encoders: Encoders) -> Table:
    """Every feature with its kind, its vocabulary and how much of it is unknown in the test rows."""
    table = Table(title="features")
    for title, side in (
        ("feature", "left"),
        ("of", "left"),
        ("kind", "left"),
        ("values", "right"),
        ("unknown", "right"),
    ):
        table.add_column(title, justify="right" if side == "right" else "left")
    owners = (
        ("user", dataset.users.features, dataset.test.user),
        ("item", dataset.items.features, dataset.test.item),
        ("context", dataset.test.context, np.arange(len(dataset.test))),
    )
    for owner, columns, place in owners:
        sizes = encoders.cardinalities(owner)
        codes = [*columns.sparse.T, *columns.multi]
        for (name, size), code in zip(sizes.items(), codes, strict=True):
            known = code[place] > 0
            unknown = 1 - (known if known.ndim == 1 else known.any(axis=1)).mean()
            kind = "sparse" if known.ndim == 1 else "multi"
            table.add_row(name, owner, kind, f"{size - 1:,}", f"{unknown:.1%}")
        for feature in dataset.schema.features_of(owner, "dense"):
            table.add_row(feature.name, owner, "dense", "-", "-")
    return table


def _moment(dataset: Dataset, part: str, seconds: int, zone: ZoneInfo) -> str:
    history = dataset.schema.history
    if part == "history" and (history is None or history.time is None):
        return "-"
    return f"{datetime.fromtimestamp(seconds, zone):%m-%d %H:%M}"


def _positives(rows: Interactions, task: int) -> str:
    observed = rows.observed[:, task]
    return f"{rows.labels[observed, task].mean():.4f}" if observed.any() else "-"
