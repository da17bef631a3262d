"""Visits: the n-th arrival as a user with candidates to rank, the same for the same seed. Pure.

Candidates are what the user was shown in one session of the log, and extras: items drawn by how often the held-out rows
show them, of which this user was shown none. All are sent in a random order, so that no label can be read from a place.
Legend: N candidates, T tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from serving.traffic.click_model import ClickModel, Float64, Int64
from serving.traffic.logged_context import Context, LoggedContext
from serving.traffic.sessions import Sessions, shown

_ROUNDS = 8
"""Draws of extras before a visit goes with fewer: a user may have been shown nearly all there is."""
_VISIT, _FEEDBACK = 1, 2
"""Streams of random numbers; arrivals have stream 0."""

Pick = Literal["drawn", "logged"]


@dataclass(frozen=True)
class Visit:
    """What arrives."""

    number: int
    unit: str
    items: tuple[str, ...]
    attraction_NT: Float64
    context: Context
    time: int
    """Of the session in the log, unix seconds: what derived features are taken at."""


class Visits:
    """pick: `drawn` sessions come in proportion to their rows; `logged` ones each once, in the log's order."""

    def __init__(
        self,
        sessions: Sessions,
        model: ClickModel,
        context: LoggedContext,
        *,
        seed: int,
        extras: int,
        pick: Pick = "drawn",
    ) -> None:
        self.sessions = sessions
        self.model = model
        self.seed = seed
        self.extras = extras
        self.pick = pick
        self._context = context
        self._rows_until_S = np.cumsum(sessions.rows_per_session)
        self._shown_until_n = np.cumsum(sessions.shown_n)
        self._by_user = np.argsort(sessions.rows.user, kind="stable")
        self._users = sessions.rows.user[self._by_user]

    def visit(self, number: int) -> Visit:
        """The arrival of that number, from 0 on."""
        rng = np.random.default_rng([self.seed, _VISIT, number])
        session = number
        if self.pick == "drawn":
            session = int(np.searchsorted(self._rows_until_S, rng.integers(self._rows_until_S[-1]), side="right"))
        logged = shown(self.sessions, session)
        extra_M = self._extras(int(self.sessions.user_S[session]), rng)
        key_N = np.concatenate([logged.key_n, extra_M])
        labels = np.concatenate([logged.labels_nT, np.zeros((len(extra_M), logged.labels_nT.shape[1]), np.uint8)])
        observed = np.concatenate([logged.observed_nT, np.zeros((len(extra_M), labels.shape[1]), np.bool_)])
        attraction = self.model.attraction(labels, observed, np.arange(len(key_N)) < len(logged.key_n))
        shuffled = rng.permutation(len(key_N))
        return Visit(
            number=number,
            unit=self.sessions.unit_S[session],
            items=tuple(self._item(int(key)) for key in key_N[shuffled]),
            attraction_NT=attraction[shuffled],
            context=self._context.of(logged.context),
            time=logged.time,
        )

    def feedback_rng(self, number: int) -> np.random.Generator:
        """What decides the outcomes of that arrival."""
        return np.random.default_rng([self.seed, _FEEDBACK, number])

    def _item(self, key: int) -> str:
        return self.sessions.item_ids[key] if key > 0 else f"item-of-no-log{key}"

    def _extras(self, user: int, rng: np.random.Generator) -> Int64:
        """Node indices of items that the user was not shown."""
        found: dict[int, None] = {}
        total = int(self._shown_until_n[-1]) if len(self._shown_until_n) else 0
        if not self.extras or not total:
            return np.zeros(0, np.int64)
        begin, end = np.searchsorted(self._users, [user, user + 1])
        seen = set(self.sessions.rows.item[self._by_user[begin:end]].tolist())
        for _ in range(_ROUNDS):
            drawn = np.searchsorted(self._shown_until_n, rng.integers(total, size=2 * self.extras), side="right")
            found |= dict.fromkeys(item for item in drawn.tolist() if item not in seen)
            if len(found) >= self.extras:
                break
        return np.array(list(found)[: self.extras], np.int64)
