"""Which phase an exposure belongs to, and which exposure an outcome followed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from serving.evidence.event import SECOND, Exposure, Outcome
from serving.evidence.run import SKEW_US, Catalogue

NOWHERE = -1
"""Label of an exposure that is no evidence of its phase: another bundle than the run's answered, it happened under
another weight than the phase's, or long before the phase began."""

EARLY_US = 300 * SECOND
"""How far a sender's clock may be behind the gateway's: an outcome that lies further before the exposure that it names
cannot have followed it."""

_HALF_BUCKET = 0.5001e-4
"""The gateway knows weights to a ten thousandth."""


def estranged(exposure: Exposure, catalogue: Catalogue) -> str | None:
    """Why an exposure is none of the phase that it names: "foreign" (another bundle answered), "mismatch" (another
    weight decided) or "early" (the phase had not begun); None: it is one, as far as is known."""
    run = catalogue.run_of(exposure.phase)
    if run is None:
        return None
    if exposure.digest != run.digest(exposure.arm):
        return "foreign"
    phase = catalogue.phases[exposure.phase]
    if exposure.propensity is not None and abs(exposure.propensity - phase.candidate_weight) > _HALF_BUCKET:
        return "mismatch"
    return "early" if exposure.time_us < phase.start_us - SKEW_US else None


def mirrored(exposure: Exposure, catalogue: Catalogue) -> bool:
    """Whether a propensity is the chance of the arm that the unit got, the baseline, in place of the candidate's."""
    phase = catalogue.phases.get(exposure.phase)
    if phase is None or exposure.arm != "baseline" or exposure.propensity is None:
        return False
    off, other = (abs(exposure.propensity - weight) for weight in (phase.candidate_weight, 1 - phase.candidate_weight))
    return other <= _HALF_BUCKET < off


def label_of(exposure: Exposure, catalogue: Catalogue) -> int:
    """The phase that an exposure belongs to, or NOWHERE."""
    return exposure.phase if estranged(exposure, catalogue) is None else NOWHERE


@dataclass(frozen=True)
class References:
    """Which exposure an outcome names: by exposure id, or the first of a request id.

    An outcome that names a unit as well means an exposure of that unit; another's is not the one. One that names a
    request alone means nothing where several units have used its id.
    """

    catalogue: Catalogue
    by_id: Mapping[str, Exposure]
    by_request: Mapping[tuple[str, str], Exposure]
    """The first by (request id, unit)."""
    users: Mapping[str, str | None]
    """By request id: the only unit that used it; None: several did."""

    @staticmethod
    def of(exposures: Iterable[Exposure], catalogue: Catalogue) -> References:
        """References among these exposures."""
        by_request: dict[tuple[str, str], Exposure] = {}
        users: dict[str, str | None] = {}
        ordered = sorted(exposures, key=lambda exposure: (exposure.time_us, exposure.exposure_id))
        for exposure in ordered:
            if exposure.request_id is not None:
                by_request.setdefault((exposure.request_id, exposure.unit), exposure)
                sole = users.setdefault(exposure.request_id, exposure.unit) == exposure.unit
                users[exposure.request_id] = exposure.unit if sole else None
        return References(catalogue, {exposure.exposure_id: exposure for exposure in ordered}, by_request, users)

    def find(self, outcome: Outcome) -> Exposure | None:
        """The exposure that an outcome followed; an exposure id counts before a request id."""
        if outcome.exposure_id is not None:
            found = self.by_id.get(outcome.exposure_id)
        elif outcome.request_id is not None:
            unit = self.users.get(outcome.request_id) if outcome.unit is None else outcome.unit
            found = None if unit is None else self.by_request.get((outcome.request_id, unit))
        else:
            found = None
        if found is None or outcome.unit not in {None, found.unit}:
            return None
        return None if outcome.time_us < found.time_us - EARLY_US else found

    def owner(self, outcome: Outcome) -> str | None:
        """The unit that an outcome counts for; None: its exposure has not been seen."""
        if outcome.unit is not None:
            return outcome.unit
        found = self.find(outcome)
        return None if found is None else found.unit

    def label(self, outcome: Outcome) -> int | None:
        """Label of that exposure; NOWHERE where it was forced; None where there is none."""
        exposure = self.find(outcome)
        if exposure is None:
            return None
        return NOWHERE if exposure.forced else label_of(exposure, self.catalogue)
