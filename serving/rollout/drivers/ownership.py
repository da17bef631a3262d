"""Whose weights a router has: this rollout's, another's that is still going on, or nobody's who still cares."""

from __future__ import annotations

from typing import Literal

from serving.rollout.state import TERMINAL
from serving.rollout.store import Key, Store, Stored

Owner = Literal["self", "other", "nobody"]


def owner_name(read: Stored) -> str:
    """What a rollout writes into a router beside its weights."""
    return f"{read.key.namespace}/{read.key.name}/{read.uid}"


class Ownership:
    """Tells owners apart, for one rollout."""

    def __init__(self, read: Stored, store: Store) -> None:
        self.name = owner_name(read)
        self._store = store

    async def of(self, written: str | None) -> Owner:
        """Who wrote; an owner that is gone or at its end no longer cares. Raises Fault."""
        if written == self.name:
            return "self"
        parts = (written or "").split("/")
        if len(parts) != 3:
            return "nobody"
        other = await self._store.get(Key(parts[0], parts[1]))
        if other is None or other.uid != parts[2] or other.status.get("phase") in TERMINAL:
            return "nobody"
        return "other"
