"""The live split: weights are written into the routes file, and read back from Envoy.

The router is the truth, the file is what it should become (as Flagger's SetRoutes and GetRoutes).
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from model.errors import Fault, UserError
from serving.gateway.admin import ASK_S, RDS, Admin, Hosts, NotRunningError
from serving.gateway.assignment import Arm
from serving.gateway.clusters import clusters, with_carrying
from serving.gateway.config import GatewayConfig
from serving.gateway.envoys import Envoys
from serving.gateway.folder import CLUSTERS_FILE, CONFIG_FILE, ROUTES_FILE, GatewayFolder, config_text, json_text
from serving.gateway.routes import Json, routes
from serving.gateway.split import Split

Admit = Callable[[Split], None]
"""Lets a write pass that would replace this split, or raises."""

_REASON = re.compile(r"Filesystem config update (?:rejected|failure): (.*)")


class SupersededError(Fault):
    """A later split is there: this one gives way."""


@dataclass(frozen=True)
class _Write:
    """The routes file before and after, and how long Envoy's log was then."""

    before: Split
    old: str
    new: str
    log_size: int


@dataclass(frozen=True)
class LiveSplit:
    """The split of a gateway's folder."""

    folder: GatewayFolder

    def weights(self) -> Split:
        """What Envoy routes by at this moment; of several that differ, the one that has not what the file says.

        Raises Fault where none runs, or has routes yet.
        """
        found = self.admin().splits()
        if not found:
            raise Fault(f"Envoy of {self.folder.root} has no routes: {self._reason(0)}")
        behind = [split for split in found if split != self.folder.split()] if len(set(found)) > 1 else found
        return max(behind, key=lambda split: split.candidate_weight)

    def hosts(self) -> Mapping[Arm, Hosts]:
        """How many rankers each arm has, and how many of them get requests. Raises Fault where Envoy runs not."""
        return self.admin().hosts()

    def set_weights(
        self,
        candidate_weight: int | None = None,
        *,
        mirror: int | None = None,
        expected_phase: int | None = None,
        timeout_s: float = 10.0,
    ) -> Split:
        """Changes the split and waits until Envoy routes by it; returns what it routes by.

        candidate_weight, mirror: basis points; None: as it is. What changes nothing is no new phase.
        expected_phase: the phase that the caller has seen; another one there is a UserError, and nothing is written.

        The file is written at once, whatever another caller waits for. Raises SupersededError where a later phase was
        written meanwhile; Fault with Envoy's reason where it refuses the routes (the file is then as before), and where
        it has not taken them within timeout_s or runs not: the file then holds the new split, and Envoy takes it when
        it can.
        """
        asked = self.folder.split()
        refused = (
            None if candidate_weight == 0 else self._refused(timeout_s)
        )  # a fall to 0 asks nothing before it writes
        with self.folder.locked():
            before = self.folder.split()
            if candidate_weight != 0 and before != asked:  # this wish is the older one, and may be a raise
                raise SupersededError(
                    f"the gateway went from phase {asked.phase} to {before.phase} meanwhile; ask again"
                )
            if expected_phase is not None and before.phase != expected_phase:
                raise UserError(f"phase {expected_phase} was expected, but the gateway is in phase {before.phase}")
            wanted = before.changed(candidate_weight, mirror)
            write = self._replace_routes(self.folder.config(), wanted)
        self._taken(write, wanted, refused, timeout_s)
        return wanted

    def reconfigure(self, config: GatewayConfig, timeout_s: float = 10.0) -> Split:
        """Gives the arms other rankers, timeouts or limits, or begins another experiment, without a restart.

        Returns the split, which goes on for the same experiment and salt, and begins at weight 0 for others. Raises
        UserError where a part cannot change while Envoy runs (nothing is written), Fault where Envoy has not taken it
        within timeout_s (the files then stay, and Envoy keeps what it had).
        """
        before = self.folder.config()
        _require(self.folder.bootstrap(config) == self.folder.bootstrap(before))
        admin = self.admin()
        taken = admin.clusters_taken()
        split = self.folder.prepare(config)
        self._wait(split, None, timeout_s)
        self._settle(admin, taken, timeout_s)
        return split

    def apply(
        self,
        config: GatewayConfig,
        wanted: Split,
        timeout_s: float = 10.0,
        confirm: Callable[[], None] | None = None,
        admit: Admit | None = None,
    ) -> None:
        """Makes it this split, phase included, between these rankers; returns when Envoy routes by it. May be repeated.

        For whoever numbers the phases: a driver that tells several gateways the same. Where arms get other rankers, an
        arm that has no share of the units changes before the routes, the other one after them: no share is ever
        without its rankers. A fall to 0 of the same experiment is written before anything else is asked or waited for,
        and even where the rest of the configuration is refused.

        Envoy may take timeout_s until the routes are written, and timeout_s from then on. confirm: called right before
        routes are written that are no fall; it may raise, and nothing more is written. admit: called under the folder's
        lock with the split that is there, before each write up to the routes; it may raise, too.

        The phase is a fence: raises SupersededError, and writes nothing more, where the same experiment has a later
        phase, or this one with other weights, before or while it waits. Raises UserError where a part cannot change
        while Envoy runs (nothing is written), Fault as set_weights does.
        """
        present = self.folder.config()
        fits = self.folder.bootstrap(config) == self.folder.bootstrap(present)
        falls = wanted.candidate_weight == 0 and _same_experiment(self.folder.split(), wanted)
        refused = None
        rankers = clusters(config)
        if not falls:
            _require(fits)
            deadline = time.monotonic() + timeout_s
            self._rankers(rankers, wanted, deadline, early=True, admit=admit)
            refused = self._refused(_left(deadline))
            if confirm is not None:
                confirm()
        with self.folder.locked():
            self._give_way(wanted, admit)
            write = self._replace_routes(config if fits else present, wanted)
        _require(fits)
        deadline = time.monotonic() + timeout_s
        self._taken(write, wanted, refused, timeout_s)
        self._rankers(rankers, wanted, deadline, early=False)
        with self.folder.locked():
            self._still_wanted(wanted)
            self.folder.write(CONFIG_FILE, config_text(config))

    def _give_way(self, wanted: Split, admit: Admit | None) -> Split:
        """The file's split. Raises SupersededError where it comes after the wanted one, and what admit raises. Call it
        under the lock."""
        found = self.folder.split()
        if _same_experiment(found, wanted) and (
            found.phase > wanted.phase or (found.phase == wanted.phase and found != wanted)
        ):
            raise SupersededError(
                f"phase {wanted.phase} with weight {wanted.candidate_weight} is not written: {found.experiment} is in "
                f"phase {found.phase} with weight {found.candidate_weight}"
            )
        if admit is not None:
            admit(found)
        return found

    def _replace_routes(self, config: GatewayConfig, wanted: Split) -> _Write:
        """Writes the routes of a split. Call it under the lock; the wait comes after it."""
        old, new = self.folder.read(ROUTES_FILE), json_text(routes(config, wanted))
        write = _Write(self.folder.split(), old, new, self._log_size())
        if new != old:
            self.folder.write(ROUTES_FILE, new)
        return write

    def _taken(self, write: _Write, wanted: Split, refused: int | None, timeout_s: float) -> None:
        """Waits for Envoy without the lock; takes the routes back where it refuses them and nobody wrote since."""
        try:
            self._wait(wanted, refused, timeout_s)
        except _RefusedError:
            with self.folder.locked():
                if self.folder.read(ROUTES_FILE) == write.new:
                    self.folder.write(ROUTES_FILE, write.old)
            raise Fault(
                f"Envoy refused phase {wanted.phase}: {self._reason(write.log_size)}; phase {write.before.phase} stays"
            ) from None

    def _rankers(self, rankers: Json, of: Split, deadline: float, *, early: bool, admit: Admit | None = None) -> None:
        """Writes clusters, if they are others, and waits until they are warm; while Envoy is down they wait for it.

        of: the split that these rankers are for; where a later one is there, its rankers are not touched. early: that
        split is still to come, and an arm that carries all units now keeps its rankers until then.
        """
        admin: Envoys | None
        try:
            admin = self.admin(_left(deadline))
            taken = admin.clusters_taken()
        except Fault:
            admin, taken = None, {}
        with self.folder.locked():
            found = self._give_way(of, admit) if early else self._still_wanted(of)
            present = self.folder.read(CLUSTERS_FILE)
            content = json_text(with_carrying(json.loads(present), rankers, found) if early else rankers)
            if content == present:
                return
            self.folder.write(CLUSTERS_FILE, content)
        if admin is not None:
            self._settle(admin, taken, _left(deadline))

    def _settle(self, admin: Envoys, taken: Mapping[str, int], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not admin.settled(taken):
            if time.monotonic() > deadline:
                raise Fault(f"Envoy has not taken the new rankers within {timeout_s:g} s: {self._reason(0)}")
            time.sleep(0.01)

    def _wait(self, wanted: Split, refused: int | None, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        pause = 0.002
        while True:
            try:
                admin = self.admin()
                found = admin.splits()
                if set(found) == {wanted}:
                    return
                self._still_wanted(wanted)
                if refused is not None and _refusals(admin) > refused:
                    raise _RefusedError
                behind = next((split.phase for split in found if split != wanted), None)
                why = "it has no routes" if behind is None else f"it routes by phase {behind}"
            except SupersededError:
                raise
            except Fault as error:
                why = str(error)
                self._still_wanted(wanted)
            if time.monotonic() > deadline:
                raise Fault(
                    f"phase {wanted.phase} is written, but Envoy has not taken it within {timeout_s:g} s: {why}"
                ) from None
            time.sleep(pause)
            pause = min(2 * pause, 0.05)

    def _still_wanted(self, wanted: Split) -> Split:
        """The wanted split, which the file still has. Raises SupersededError where it has another one by now."""
        found = self.folder.split()
        if found != wanted:
            raise SupersededError(
                f"phase {wanted.phase} with weight {wanted.candidate_weight} was written, and replaced by phase "
                f"{found.phase} with weight {found.candidate_weight} before Envoy had it"
            )
        return found

    def admin(self, timeout_s: float = ASK_S) -> Envoys:
        """The admin pages of this folder's Envoys, which get that long for an answer. Raises Fault where none runs."""
        found = []
        for member in self.folder.members():
            with contextlib.suppress(OSError):  # it has ended, or starts
                found.append(Admin(member.admin_address.read_text(encoding="utf-8").strip(), min(timeout_s, ASK_S)))
        if not found:
            raise NotRunningError(f"no Envoy runs for {self.folder.root}: it has no {self.folder.admin_address.name}")
        return Envoys(tuple(found))

    def _refused(self, timeout_s: float) -> int | None:
        try:
            return _refusals(self.admin(timeout_s))
        except Fault:  # it runs not; the wait says so
            return None

    def _log_size(self) -> int:
        try:
            return self.folder.envoy_log.stat().st_size
        except OSError:
            return 0

    def _reason(self, seen: int) -> str:
        """Envoy's last word on a refused file, which only its log has."""
        try:
            said = self.folder.envoy_log.read_bytes()[seen:].decode("utf-8", "replace")
        except OSError:
            return "its log is not here to say why"
        reasons = _REASON.findall(said)
        return reasons[-1] if reasons else f"{self.folder.envoy_log} says why"


def _left(deadline: float) -> float:
    """Seconds until then; a moment where it is over, so that what is there is still told."""
    return max(0.05, deadline - time.monotonic())


def _require(fits: bool) -> None:
    if not fits:
        raise UserError("listener, admin port, client timeouts and limits of clients need a restart of the gateway")


def _same_experiment(one: Split, other: Split) -> bool:
    return (one.experiment, one.salt) == (other.experiment, other.salt)


class _RefusedError(Exception):
    """Envoy counted a refused or unreadable file."""


def _refusals(admin: Envoys) -> int:
    stats = admin.stats(RDS)
    return stats.get(f"{RDS}.update_rejected", 0) + stats.get(f"{RDS}.update_failure", 0)
