"""The list of rollouts, those that need a person first. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from serving.console.attention import Notice, notices
from serving.console.wish import Sight
from serving.rollout.state import Phase
from serving.rollout.status import EvidenceStatus

PHASE_TONES: dict[Phase, str] = {
    "Pending": "calm",
    "Validating": "calm",
    "Ramping": "live",
    "Paused": "warn",
    "Promoting": "live",
    "Succeeded": "good",
    "RollingBack": "bad",
    "RolledBack": "done",
    "Failed": "bad",
}
PHASE_SIGNS: dict[Phase, str] = {
    "Pending": "…",
    "Validating": "…",
    "Ramping": "▶",
    "Paused": "❚❚",
    "Promoting": "▲",
    "Succeeded": "✓",
    "RollingBack": "▼",
    "RolledBack": "▼",
    "Failed": "✕",
}
VERDICT_TONES = {"Win": "good", "Harm": "bad", "Invalid": "bad", "Inconclusive": "calm", "Unknown": "calm"}
VERDICT_SIGNS = {"Win": "▲", "Harm": "▼", "Invalid": "✕", "Inconclusive": "◆", "Unknown": "–"}


@dataclass(frozen=True)
class Row:
    """One rollout of the list."""

    sight: Sight
    notices: tuple[Notice, ...]

    @property
    def name(self) -> str:
        """Its name."""
        return self.sight.name

    @property
    def phase(self) -> Phase:
        """Its phase."""
        return self.sight.status.phase

    @property
    def evidence(self) -> EvidenceStatus:
        """What the controller last said of the evidence."""
        return self.sight.status.evidence


@dataclass(frozen=True)
class Unreadable:
    """A rollout that this version cannot read, and why."""

    name: str
    reason: str


def rows(sights: Iterable[Sight], now: float) -> tuple[Row, ...]:
    """Bad ones first, then those to look at, then what goes on, then what has ended; each the latest first."""
    return tuple(sorted((Row(sight, notices(sight, now)) for sight in sights), key=_rank))


def _rank(row: Row) -> tuple[int, float, str]:
    worst = min((one.gravity != "bad" for one in row.notices), default=None)
    group = int(worst) if worst is not None else 3 if row.sight.over else 2
    return group, -(row.sight.status.entered_at or 0.0), row.name
