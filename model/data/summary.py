"""Tables that describe an ingested log to a person."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
from rich.table import Table

from model.data.dataset import Dataset, Interactions
from model.data.encoding import Encoders


def describe_parts(dataset: Dataset) -> Table:
    """Rows, time span, share of positives per task, and share of rows with a user or item never met before validation."""
    table = Table(title=f"{dataset.schema.name}: {len(dataset.users) - 1:,} users, {len(dataset.items) - 1:,} items")
    table.add_column("part")
    for title in ("rows", "from", "to", *dataset.schema.task_names, "new users", "new items"):
        table.add_column(title, justify="right")
    zone = ZoneInfo(dataset.schema.interactions.time.timezone)
    for part in ("history", "train", "validate", "test"):
        rows: Interactions | None = getattr(dataset, part)
        if rows is None:
            continue
        timed = part != "history" or (dataset.schema.history is not None and dataset.schema.history.time is not None)
        table.add_row(
            part,
            f"{len(rows):,}",
            *(f"{datetime.fromtimestamp(int(rows.time[end]), zone):%m-%d %H:%M}" if timed else "-" for end in (0, -1)),
            *(_positives(rows, task) for task in range(len(dataset.schema.tasks))),
            f"{1 - dataset.users.seen[rows.user].mean():.1%}",
            f"{1 - dataset.items.seen[rows.item].mean():.1%}",
        )
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


def _positives(rows: Interactions, task: int) -> str:
    observed = rows.observed[:, task]
    return f"{rows.labels[observed, task].mean():.4f}" if observed.any() else "-"
