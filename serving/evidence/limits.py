"""Limits of what is taken in; every one has a default that serves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a request, a batch and a unit may bring; beyond it, a refusal says so."""

    body_bytes: int = 4 * 2**20
    """Bytes of one request's body."""
    batch_events: int = 5000
    """Events of one request."""
    unit_events: int = 5_000
    """Events of one unit and outcome (or exposures) in one experiment, whenever they say that they happened: a client
    that loops, or one that wants to tilt the experiment, is cut off here."""
    unit_all_events: int = 10_000
    """All events of one unit in one experiment. It bounds what a replay of a unit costs, however many names it has."""
    reference_events: int = 1000
    """Outcomes without a unit that name one exposure or request."""
    unclaimed_events: int = 200_000
    """Exposures that are kept aside until somebody registers their experiment, all together."""
    unclaimed_name_events: int = 50_000
    """Of them, those that name one experiment: one name that is misspelt leaves room for the others."""
    unclaimed_s: float = 30 * 86_400.0
    """How long they are kept."""
    future_s: float = 300.0
    """How far the time of an event may lie ahead of this machine's clock."""
    queue_events: int = 50_000
    """Events that may wait for the database; a request beyond it is told to come again."""
    transaction_events: int = 5000
    """Events after which a transaction is closed while more are waiting."""
