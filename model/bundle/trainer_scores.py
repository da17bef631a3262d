"""What the trainer itself says to raw requests: its encoders, its tables, its prediction loop.

Legend: N candidates of all requests one after the other, T tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from model.bundle.probe import ProbeRequest
from model.data.dataset import Float32, Interactions
from model.data.encoding import Encoders
from model.training.trained import TrainedModel


def trainer_scores(trained: TrainedModel, encoders: Encoders, requests: Sequence[ProbeRequest]) -> Float32:
    """Probabilities float32 [N, T]; each request reads the tables of its own time."""
    repeats = [len(request.items) for request in requests]
    time_N = np.repeat(np.array([int(request.time) for request in requests], dtype=np.int64), repeats)
    no_label_NT = np.zeros((len(time_N), len(trained.store.spec.tasks)), np.uint8)
    rows = Interactions(
        user=np.repeat(encoders.user_index([request.user for request in requests]), repeats),
        item=encoders.item_index([item for request in requests for item in request.items]),
        time=time_N,
        labels=no_label_NT,
        observed=no_label_NT.astype(np.bool_),
        context=encoders.columns("context", _raw_columns(encoders, requests, repeats), time_N),
    )
    return trained.predict(rows)


def _raw_columns(encoders: Encoders, requests: Sequence[ProbeRequest], repeats: list[int]) -> pl.DataFrame:
    """The requests' contexts as raw columns of a log, one row per candidate."""
    columns: dict[str, pl.Series] = {}
    for feature in encoders.schema.features_of("context"):
        if feature.column is None or feature.column in columns:
            continue
        values = [request.context.get(feature.name) for request in requests]
        repeated = [value for value, times in zip(values, repeats, strict=True) for _ in range(times)]
        columns[feature.column] = pl.Series(repeated, dtype=_DTYPES[feature.kind])
    return pl.DataFrame(columns)


_DTYPES: Mapping[str, pl.DataType] = {"sparse": pl.String(), "multi": pl.List(pl.String()), "dense": pl.Float64()}
