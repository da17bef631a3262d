"""The split: what of the gateway changes while it runs, and what each change is called."""

from __future__ import annotations

from dataclasses import dataclass, replace

from model.errors import UserError
from serving.gateway.assignment import BUCKETS, check_salt, check_weight


@dataclass(frozen=True)
class Split:
    """Weights under one phase number. Raises UserError for a value that cannot be rendered."""

    experiment: str
    salt: str
    phase: int = 1
    """Counts the changes; the evidence of each phase is a stratum of its own."""
    candidate_weight: int = 0
    """Buckets of the candidate, 0..10000."""
    mirror: int = 0
    """Of 10,000 requests that the baseline answers, how many are copied to the candidate, whose answers are dropped."""

    def __post_init__(self) -> None:
        check_salt(self.experiment)
        check_salt(self.salt)
        check_weight(self.candidate_weight)
        if not 0 <= self.mirror <= BUCKETS:
            raise UserError(f"mirror {self.mirror}: write 0 to {BUCKETS} (basis points)")
        if not 1 <= self.phase <= 10**9:  # the log carries it as a double
            raise UserError(f"phase {self.phase}: write 1 to 1000000000")

    @property
    def propensity(self) -> float:
        """Probability of the candidate, 0..1."""
        return self.candidate_weight / BUCKETS

    def changed(self, candidate_weight: int | None = None, mirror: int | None = None) -> Split:
        """The next phase with these values, or this very one where they are what it has."""
        wanted = replace(
            self,
            candidate_weight=self.candidate_weight if candidate_weight is None else candidate_weight,
            mirror=self.mirror if mirror is None else mirror,
        )
        return self if wanted == self else replace(wanted, phase=self.phase + 1)
