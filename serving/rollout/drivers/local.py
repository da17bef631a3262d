"""The driver `local`: the gateway of this machine, through its folder."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError

from model.errors import Fault, UserError
from serving.gateway.assignment import Arm, check_salt
from serving.gateway.config import Experiment, GatewayConfig, Side
from serving.gateway.live import LiveSplit, SupersededError
from serving.gateway.split import Split
from serving.rollout.actions import Scale, SetWeights
from serving.rollout.driver import Observation, StaleWriteError
from serving.rollout.drivers.local_notes import LocalNotes, Note
from serving.rollout.drivers.ownership import Ownership
from serving.rollout.drivers.served_digests import ServedDigests
from serving.rollout.facts import ArmFacts, RouterFacts
from serving.rollout.judgement import Naming

TRIES = 4
"""Of a write that others' writes get in the way of."""
APPLY_S = 3.0
POINTS = 100
"""Basis points of a percent."""

Named = Mapping[str, Side]
_NAMED = TypeAdapter(dict[str, Side])


def named_rankers(document: object, source: str) -> Named:
    """Rankers by the names that `spec.driver.services` uses. Raises UserError with one line."""
    try:
        return _NAMED.validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{source}: {where + ': ' if where else ''}{first['msg']}") from None


class _Written(NamedTuple):
    """What the folder has, which Envoy may not have taken yet."""

    split: Split
    note: Note | None
    """Of that split."""
    claim: Note | None
    """The latest one: its routes may still be to come."""


class _OvertakenError(Exception):
    """Somebody wrote after the owner of what was there had been asked for."""


@dataclass(frozen=True)
class LocalDriver:
    """One rollout at one gateway."""

    live: LiveSplit
    naming: Naming
    ownership: Ownership
    digests: ServedDigests
    services: Mapping[Arm, str]
    rankers: Named
    """By service; empty: the gateway's own configuration names the rankers of both arms, whatever they are called."""

    @property
    def assignment(self) -> Literal["Unit", "Request"]:
        """Users stay on their arm."""
        return "Unit"

    async def observe(self) -> Observation:
        """Envoy's own routes and hosts, and the digests that the rankers tell."""
        problems = self._problems()
        if problems:
            return Observation(router=await self._router(), problems=problems)
        config = await asyncio.to_thread(self.live.folder.config)
        router, baseline, candidate = await asyncio.gather(
            self._router(), self._arm(config, "baseline"), self._arm(config, "candidate")
        )
        return Observation(baseline, candidate, router)

    async def _router(self) -> RouterFacts:
        split = await asyncio.to_thread(self.live.weights)
        note = await asyncio.to_thread(self._notes.of, split)
        return RouterFacts(
            weight=None if split.candidate_weight % POINTS else split.candidate_weight // POINTS,
            stratum=split.phase,
            run=note.run if note else None,
            owner=await self.ownership.of(note.owner if note else None),
        )

    async def _arm(self, config: GatewayConfig, arm: Arm) -> ArmFacts:
        side = self._side(config, arm)
        addresses = [f"http://{each.host}:{each.http}" for each in side.endpoints]
        if side == getattr(config, arm):
            hosts = await asyncio.to_thread(self.live.hosts)
            ready = hosts[arm].healthy
        else:  # Envoy does not know them yet; what answers with a digest has loaded it
            ready = len([each for each in addresses if await self.digests.of([each], 1)])
        return ArmFacts(ready=ready, serving=await self.digests.of(addresses, ready))

    def _problems(self) -> tuple[str, ...]:
        found = [
            f"service {name!r} of the {arm} is none of the rankers: {', '.join(sorted(self.rankers))}"
            for arm, name in self.services.items()
            if self.rankers and name not in self.rankers
        ]
        try:
            check_salt(self.naming.salt)
        except UserError as error:
            found.append(str(error))
        return tuple(found)

    def _side(self, config: GatewayConfig, arm: Arm) -> Side:
        own: Side = getattr(config, arm)
        return self.rankers.get(self.services[arm], own)

    async def set_weights(self, wanted: SetWeights) -> None:
        """Note, then routes: a stratum that Envoy has is never without its owner.

        Whose stratum is there is asked before the folder's lock is taken, and holds under it where nobody wrote since.
        """
        for _ in range(TRIES):
            present = await asyncio.to_thread(self._written)
            await self._check(present, wanted)
            try:
                await asyncio.to_thread(self._write, wanted, present)
            except _OvertakenError:
                continue
            return
        raise Fault(f"{self._what}: {TRIES} writes of stratum {wanted.stratum} met others' writes")

    @property
    def _notes(self) -> LocalNotes:
        return LocalNotes(self.live.folder)

    @property
    def _what(self) -> str:
        return f"gateway {self.live.folder.root}"

    def _written(self) -> _Written:
        try:
            split = self.live.folder.split()
        except UserError as error:
            raise Fault(f"{self._what}: {error}") from error
        return self._written_with(split)

    def _written_with(self, split: Split) -> _Written:
        return _Written(split, self._notes.of(split), self._notes.latest())

    async def _check(self, present: _Written, wanted: SetWeights) -> None:
        """Raises StaleWriteError where a later stratum of ours is there, Fault where another rollout's is."""
        for note in (present.note, present.claim):
            if note is not None and await self.ownership.of(note.owner) == "other":
                raise Fault(f"{self._what} belongs to {note.owner}, which is still going on")
        ours = present.note is not None and present.note.owner == self.ownership.name
        if ours and present.split.phase > wanted.stratum:
            raise StaleWriteError(
                f"stratum {wanted.stratum} is not written: {self._what} has stratum {present.split.phase}"
            )

    def _write(self, wanted: SetWeights, present: _Written) -> None:
        experiment = self.naming.experiment(wanted.run)
        note = Note(experiment, wanted.stratum, wanted.run, self.ownership.name)

        def admit(found: Split) -> None:
            there = self._written_with(found)
            if there != present and (there.split, there.claim) != (present.split, note):
                raise _OvertakenError
            self._notes.add(note)

        try:
            split = Split(experiment, self.naming.salt, wanted.stratum, wanted.candidate * POINTS)
            base = self.live.folder.config()
            config = base.model_copy(
                update={
                    "experiment": Experiment(id=experiment, salt=self.naming.salt),
                    "baseline": self._side(base, "baseline"),
                    "candidate": self._side(base, "candidate"),
                }
            )
            self.live.apply(config, split, APPLY_S, admit=admit)
        except SupersededError as error:
            raise StaleWriteError(str(error)) from error
        except UserError as error:
            raise Fault(f"{self._what}: {error}") from error

    async def scale(self, wanted: Scale) -> None:
        """Never asked: the arms' floors are unknown here."""
        raise Fault(f"the driver local starts no rankers; {wanted.replicas} of the {wanted.arm} were asked for")
