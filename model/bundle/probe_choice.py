"""Draws probe requests that reach every kind of input: known, untrained and unknown ids, and contexts of all sorts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import cycle, islice

import numpy as np
import numpy.typing as npt

from model.bundle.probe import ProbeRequest, Value
from model.data.dataset import Nodes
from model.data.encoding import Encoders, Scale, Vocabulary
from model.data.schema import Feature

Int64 = npt.NDArray[np.int64]

_WEEK = 7 * 86_400
_MOST_ITEMS = 8
_USERS = ("known", "known", "untrained", "unknown")
_CONTEXTS = ("typical", "typical", "missing", "unknown")


class ProbeChoice:
    """Draws from the nodes and encoders of one log. A log without untrained nodes is probed by known ones instead."""

    def __init__(self, users: Nodes, items: Nodes, encoders: Encoders, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._users, self._items = _Pool(users, self._rng), _Pool(items, self._rng)
        self._encoders = encoders
        self._features = [feature for feature in encoders.schema.features_of("context") if feature.derive is None]

    def draw(self, count: int, since: int) -> tuple[ProbeRequest, ...]:
        """Requests within the week after `since` (unix seconds), the latest moment that the tables know of."""
        kinds = ((user, context) for context in cycle(_CONTEXTS) for user in _USERS)
        return tuple(
            self._request(number, user, context, since) for number, (user, context) in enumerate(islice(kinds, count))
        )

    def _request(self, number: int, user: str, context: str, since: int) -> ProbeRequest:
        rng = self._rng
        wanted = rng.choice(_USERS, int(rng.integers(1, _MOST_ITEMS + 1)))
        return ProbeRequest(
            name=f"{number}: {user} user, {len(wanted)} items, {context} context",
            user=self._users.draw(user),
            items=tuple(self._items.draw(kind) for kind in wanted),
            context=self._context(context),
            time=float(since + int(rng.integers(0, _WEEK))) + 0.5,
        )

    def _context(self, kind: str) -> dict[str, Value]:
        """Features that share a column of the log get one value, as they would there."""
        if kind == "missing":
            return {}
        column_values: dict[str | None, Value] = {}
        for feature in self._features:
            column_values.setdefault(feature.column, self._value(feature, kind))
        return {feature.name: column_values[feature.column] for feature in self._features}

    def _value(self, feature: Feature, kind: str) -> Value:
        encoder = self._encoders.features[feature.name]
        if isinstance(encoder, Scale):
            far = 6.0 if kind == "unknown" else 1.0
            value = encoder.mean + far * encoder.deviation * float(self._rng.normal())
            return float(np.expm1(value)) if feature.transform == "log1p" else value
        if kind == "unknown":
            return ["\u2014never seen\u2014"] if feature.kind == "multi" else "\u2014never seen\u2014"
        if feature.kind == "multi":
            drawn = int(self._rng.integers(0, feature.max_length + 2))
            return [self._text(encoder) for _ in range(drawn)]
        return self._text(encoder)

    def _text(self, vocabulary: Vocabulary) -> str:
        known = vocabulary.values
        return str(known[int(self._rng.integers(len(known)))]) if len(known) else "\u2014never seen\u2014"


class _Pool:
    """Raw ids of one side, by kind."""

    def __init__(self, nodes: Nodes, rng: np.random.Generator) -> None:
        self._rng = rng
        self._ids = nodes.ids
        index = np.arange(1, len(nodes))
        seen = nodes.seen[1:]
        self._places: Mapping[str, Int64] = {"known": index[seen], "untrained": index[~seen]}
        self._taken: Callable[[str], bool] = frozenset(str(raw) for raw in nodes.ids).__contains__

    def draw(self, kind: str) -> str:
        places = self._places.get(kind)
        if places is None:
            return self._unknown()
        pool = places if len(places) else np.arange(1, len(self._ids))
        return str(self._ids[int(self._rng.choice(pool))]) if len(pool) else self._unknown()

    def _unknown(self) -> str:
        while self._taken(raw := f"unknown-{int(self._rng.integers(1 << 32)):08x}"):
            pass
        return raw
