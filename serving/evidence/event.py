"""Exposures and outcomes: what the store takes in, in exact units.

Values are integers of MICRO units and times integers of microseconds, so that sums do not depend on the order of
events and a unit can be taken out again without a trace.
"""

from __future__ import annotations

from dataclasses import dataclass

from serving.gateway.assignment import Arm

ARMS: tuple[Arm, Arm] = ("baseline", "candidate")

MICRO = 1_000_000
"""Parts of one: values are kept to six decimals."""
SECOND = 1_000_000
"""Microseconds of a second."""
DAY = 86_400 * SECOND


@dataclass(frozen=True, slots=True)
class Exposure:
    """A unit was shown an arm's ranking."""

    experiment: str
    exposure_id: str
    unit: str
    arm: Arm
    digest: str
    """Digest of the bundle that answered."""
    phase: int
    time_us: int
    propensity: float | None = None
    """Probability of the candidate in this phase as the sender knew it; kept, the registered phase decides."""
    request_id: str | None = None
    forced: bool = False

    @property
    def event_id(self) -> str:
        """The id by which a repeated delivery is known."""
        return self.exposure_id


@dataclass(frozen=True, slots=True)
class Outcome:
    """A unit did something: by the exposure or request that it followed, or by the unit alone."""

    experiment: str
    event_id: str
    metric: str
    """Name of the outcome event, as the design's metrics have it in `value` or `denominator`."""
    value: int
    """In MICRO units."""
    time_us: int
    unit: str | None = None
    exposure_id: str | None = None
    request_id: str | None = None

    @property
    def by_reference(self) -> bool:
        """Whether it names the exposure or request that it followed."""
        return self.exposure_id is not None or self.request_id is not None


Event = Exposure | Outcome


@dataclass(frozen=True, slots=True)
class Refusal:
    """An event that was not taken, and why, in one sentence that names the field and its value."""

    event_id: str | None
    reason: str
    kind: str = "invalid"
    """invalid | unknown | no_room | conflict | capped | too_old | deleted | ended: what metrics count it under."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event that is on disk, now or since an earlier delivery."""

    event_id: str


Answer = Accepted | Refusal
