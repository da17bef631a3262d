"""The driver `local`: the gateway of this machine, through its folder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from model.errors import Fault, UserError
from serving.gateway.assignment import Arm, check_salt
from serving.gateway.config import Experiment, GatewayConfig, Side
from serving.gateway.live import LiveSplit, SupersededError
from serving.gateway.split import Split
from serving.rollout.actions import Scale, SetWeights
from serving.rollout.driver import Observation, StaleWriteError
from serving.rollout.drivers.ownership import Ownership
from serving.rollout.drivers.served_digests import ServedDigests
from serving.rollout.facts import ArmFacts, RouterFacts
from serving.rollout.judgement import Naming

NOTES_FILE = "rollout.json"
"""Who wrote which stratum, beside the routes that Envoy reads."""
NOTES = 20
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


@dataclass(frozen=True)
class _Note:
    """One write. It is on disk before the routes that it is about."""

    experiment: str
    stratum: int
    run: str
    owner: str


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
        written = (split.experiment, split.phase)
        note = next((each for each in self._notes() if (each.experiment, each.stratum) == written), None)
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
        """Note, then routes: a stratum that Envoy has is never without its owner."""
        await asyncio.to_thread(self._write, wanted)

    def _write(self, wanted: SetWeights) -> None:
        experiment = self.naming.experiment(wanted.run)
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
            self._note(_Note(experiment, wanted.stratum, wanted.run, self.ownership.name))
            self.live.apply(config, split, APPLY_S)
        except SupersededError as error:
            raise StaleWriteError(str(error)) from error
        except UserError as error:
            raise Fault(f"gateway {self.live.folder.root}: {error}") from error

    def _note(self, note: _Note) -> None:
        with self.live.folder.locked():  # rollouts are looked at beside each other, and one's note is not another's
            notes = (note, *(each for each in self._notes() if each != note))[:NOTES]
            self.live.folder.write(NOTES_FILE, json.dumps([vars(each) for each in notes], indent=1) + "\n")

    def _notes(self) -> tuple[_Note, ...]:
        """Newest first; none where nothing was written yet."""
        if not (self.live.folder.root / NOTES_FILE).exists():
            return ()
        try:
            return tuple(_Note(**each) for each in json.loads(self.live.folder.read(NOTES_FILE)))
        except (ValueError, TypeError) as error:
            raise Fault(f"{self.live.folder.root / NOTES_FILE} is not ours: {error}") from error

    async def scale(self, wanted: Scale) -> None:
        """Never asked: the arms' floors are unknown here."""
        raise Fault(f"the driver local starts no rankers; {wanted.replicas} of the {wanted.arm} were asked for")
