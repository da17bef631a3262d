"""Context features of logged rows as a caller sends them: raw values again, from the artifact's codes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from model.data.dataset import Columns
from model.data.encoding import Encoders, Scale, Vocabulary
from model.data.schema import Feature

Context: TypeAlias = Mapping[str, object]
_Read: TypeAlias = Callable[[Columns], object]


class LoggedContext:
    """Leaves out what is derived from time (a request carries its time), and what is unknown or missing."""

    def __init__(self, encoders: Encoders) -> None:
        self.multi = frozenset(feature.name for feature in encoders.schema.features_of("context", "multi"))
        self._read: dict[str, _Read] = {}
        for kind, reader in (("sparse", _sparse), ("dense", _dense), ("multi", _multi)):
            for place, feature in enumerate(encoders.schema.features_of("context", kind)):
                if feature.derive is None:
                    self._read[feature.name] = reader(place, feature, encoders.features[feature.name])

    def of(self, columns: Columns) -> Context:
        """Raw values by feature of the first row."""
        found = {name: read(columns) for name, read in self._read.items()}
        return {name: value for name, value in found.items() if value is not None and value != []}


def _sparse(place: int, _: Feature, encoder: Vocabulary | Scale) -> _Read:
    values = _values(encoder)
    return lambda columns: values[int(columns.sparse[0, place])]


def _multi(place: int, _: Feature, encoder: Vocabulary | Scale) -> _Read:
    values = _values(encoder)
    return lambda columns: [values[int(code)] for code in columns.multi[place][0] if code]


def _dense(place: int, feature: Feature, encoder: Vocabulary | Scale) -> _Read:
    mean, deviation = (encoder.mean, encoder.deviation) if isinstance(encoder, Scale) else (0.0, 1.0)

    def read(columns: Columns) -> float:
        value = float(columns.dense[0, place]) * deviation + mean
        return float(np.expm1(value)) if feature.transform == "log1p" else value

    return read


def _values(encoder: Vocabulary | Scale) -> list[str | None]:
    return [None, *encoder.values.to_list()] if isinstance(encoder, Vocabulary) else []
