"""All Envoys that share a gateway's port on one machine, asked as if they were one.

One that does not run takes no requests, and is left out; one that runs and does not answer is a Fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from serving.gateway.admin import CDS, Admin, Hosts, NotRunningError
from serving.gateway.assignment import Arm
from serving.gateway.split import Split

Told = TypeVar("Told")


@dataclass(frozen=True)
class Envoys:
    """admins: at least one. Every method raises Fault as Admin does, and where none of them runs."""

    admins: tuple[Admin, ...]

    def splits(self) -> tuple[Split, ...]:
        """What each routes by; one that has no routes yet takes no requests."""
        return tuple(split for split in self._each(Admin.weights).values() if split is not None)

    def hosts(self) -> Mapping[Arm, Hosts]:
        """Rankers of each arm, as the Envoy sees them that sees the fewest."""
        told = tuple(self._each(Admin.hosts).values())
        return {
            arm: Hosts(min(each[arm].healthy for each in told), min(each[arm].known for each in told))
            for arm in told[0]
        }

    def stats(self, prefix: str) -> Mapping[str, int]:
        """Counters and gauges whose names begin so, added up."""
        total: Counter[str] = Counter()
        for each in self._each(lambda admin: admin.stats(prefix)).values():
            total.update(each)
        return total

    def clusters_taken(self) -> Mapping[str, int]:
        """How many cluster files each has accepted, by its address."""
        stats = self._each(lambda admin: admin.stats(CDS))
        return {address: each.get(f"{CDS}.update_success", 0) for address, each in stats.items()}

    def settled(self, taken: Mapping[str, int]) -> bool:
        """Whether each has accepted a cluster file since then, and none of its clusters is still warming."""
        return all(self._each(lambda admin: admin.settled(taken.get(admin.address, 0))).values())

    def drain(self, settle_s: float, drain_s: float) -> None:
        """One after the other, as Admin.drain."""
        self._each(lambda admin: admin.drain(settle_s, drain_s))

    def reopen_logs(self) -> None:
        """After log files were renamed."""
        self._each(Admin.reopen_logs)

    def statistics(self) -> Mapping[str, str]:
        """Each one's Prometheus text, by its address."""
        return self._each(Admin.prometheus)

    def prometheus(self) -> str:
        """The same in one text."""
        return "".join(self.statistics().values())

    def _each(self, ask: Callable[[Admin], Told]) -> Mapping[str, Told]:
        told: dict[str, Told] = {}
        absent: NotRunningError | None = None
        for admin in self.admins:
            try:
                told[admin.address] = ask(admin)
            except NotRunningError as error:
                absent = error
        if not told and absent is not None:
            raise absent
        return told
