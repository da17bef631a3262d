"""Encoded rows of a log back to the raw requests that they came from, to send them down the serving path."""

from __future__ import annotations

import numpy as np

from model.bundle.probe import ProbeRequest, Value
from model.data.dataset import Dataset, Interactions, Nodes
from model.data.encoding import Encoders, Scale
from model.data.schema import Feature

UNKNOWN = "\u2014not in the log\u2014"
"""Stands for an id whose raw form the log did not keep, for it was not known when encoders were fitted."""


def raw_request(dataset: Dataset, encoders: Encoders, rows: Interactions, row: int) -> ProbeRequest:
    """A request of one item that encodes to the row. Values that were unknown or missing are left out."""
    context: dict[str, Value] = {}
    places = {"sparse": 0, "dense": 0, "multi": 0}
    for feature in dataset.schema.features_of("context"):
        place = places[feature.kind]
        places[feature.kind] += 1
        value = _raw(encoders, feature, rows, row, place)
        if value is not None and feature.derive is None:
            context[feature.name] = value
    return ProbeRequest(
        name=f"row {row}",
        user=_id(dataset.users, int(rows.user[row])),
        items=(_id(dataset.items, int(rows.item[row])),),
        context=context,
        time=float(rows.time[row]),
    )


def _raw(encoders: Encoders, feature: Feature, rows: Interactions, row: int, place: int) -> Value:
    encoder = encoders.features[feature.name]
    if isinstance(encoder, Scale):
        value = float(rows.context.dense[row, place]) * encoder.deviation + encoder.mean
        return float(np.expm1(value)) if feature.transform == "log1p" else value
    if feature.kind == "multi":
        codes = rows.context.multi[place][row]
        return [str(encoder.values[int(code) - 1]) for code in codes if code > 0]
    code = int(rows.context.sparse[row, place])
    return str(encoder.values[code - 1]) if code > 0 else None


def _id(nodes: Nodes, index: int) -> str:
    return str(nodes.ids[index]) if index > 0 else UNKNOWN
