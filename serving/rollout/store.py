"""Where rollouts live: the Kubernetes API, or a database on one machine. Both refuse a write on an old version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from model.errors import Fault
from serving.rollout.resource import GROUP
from serving.rollout.state import Transition

FINALIZER = f"{GROUP}/traffic"


class Key(NamedTuple):
    """Which rollout."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ConflictError(Fault):
    """Somebody wrote since the version that was read; read again and decide again."""


@dataclass(frozen=True)
class Stored:
    """A rollout as it was read."""

    key: Key
    uid: str
    version: str
    """Changes with every write (resourceVersion)."""
    generation: int
    """Counts the changes of the spec."""
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    deleted_at: float | None = None
    """Unix seconds of the wish to delete it."""
    finalizers: tuple[str, ...] = ()

    @property
    def held(self) -> bool:
        """Whether it has our finalizer: it cannot vanish before its traffic is back."""
        return FINALIZER in self.finalizers

    @property
    def identity(self) -> str:
        """A name that no other rollout has or will have; evidence and routers know the rollout by it.

        At most 54 characters: with an attempt it is still a salt of the gateway (64).
        """
        return f"{self.key.name[:45]}.{self.uid[:8]}"


class Store(Protocol):
    """A versioned store. Every write names the version that it is based on."""

    async def get(self, key: Key) -> Stored | None:
        """The present version, never one from a cache. Raises Fault where the store does not answer."""

    async def keys(self) -> tuple[Key, ...]:
        """All rollouts."""

    async def write_status(self, read: Stored, status: Mapping[str, Any]) -> Stored:
        """Replace the status. Raises ConflictError."""

    async def hold(self, read: Stored) -> Stored:
        """Add our finalizer. Raises ConflictError."""

    async def release(self, read: Stored) -> None:
        """Take our finalizer away. Raises ConflictError."""

    async def announce(self, read: Stored, transition: Transition, warning: bool) -> None:
        """One Event for a transition; a second call for the same one changes nothing."""
