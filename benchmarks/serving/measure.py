"""Servers that are up together on the same cores, loaded in turns: what each can do, and its latency at equal rates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.serving.client import run_client, server_cores
from benchmarks.serving.contenders import Contender, Server, serving
from benchmarks.serving.load import Outcome, Reachable, closed_loop, open_loop
from benchmarks.serving.rounds import Rounds, in_turns
from serving.ranker.choice import Choice, Way
from serving.ranker.ranker import Ranker
from serving.ranker.request import RankRequest
from serving.ranker.scorers import reference

CLIENTS = 16
"""Of the closed loop that finds a server's throughput."""
WARM_S = 0.5
CHECKED = 3
"""Requests of every size whose scores are compared with the reference, over every transport and port."""
WITHIN = 1e-5


@dataclass(frozen=True)
class Plan:
    """How long and how often servers are loaded at one size. shares: of the plain server's throughput."""

    rounds: int
    seconds: float
    """Of a closed loop."""
    shares: tuple[float, ...] = ()
    load_rounds: int = 2
    load_s: tuple[float, float] = (1.0, 1.5)
    """Least and most of an open loop; in between, as long as `requests` of all rounds need."""
    requests: int = 300

    def lasting(self, rate: float) -> float:
        """Seconds of an open loop."""
        least, most = self.load_s
        return float(np.clip(self.requests / self.load_rounds / rate, least, most))


@dataclass(frozen=True)
class World:
    """One model: its bundle, a ranker in this process, and the requests of every size."""

    model: str
    bundle: Path
    ranker: Ranker
    requests: dict[int, list[RankRequest]]
    cache: Path
    """Of this bundle alone."""


@dataclass(frozen=True)
class Cell:
    """Some servers at one size on the same cores; the plain server is the first. loads: by share of its throughput."""

    model: str
    cores: int
    candidates: int
    throughput: Rounds
    loads: dict[float, Rounds]
    memory_mb: dict[str, float]


class Group:
    """Servers that are up together."""

    def __init__(self, world: World, cores: int, servers: Sequence[Server]) -> None:
        self.world, self.cores, self.servers = world, cores, servers

    def cells(self, plans: dict[int, Plan]) -> Iterator[Cell]:
        """One cell for each size, as it is measured. Raises RuntimeError where scores are wrong."""
        for size, plan in plans.items():
            for server in self.servers:
                check_scores(server, self.world, self.world.requests[size][:CHECKED])
            targets = {server.name: server.target(self.world.requests[size]) for server in self.servers}
            for target in targets.values():
                self._closed(target, WARM_S, 0)
            closed = {name: partial(self._closed, target, plan.seconds) for name, target in targets.items()}
            throughput = in_turns(closed, plan.rounds)
            capacity = throughput.of(throughput.base, lambda outcome: outcome.throughput).median
            loads = {share: self._loads(targets, plan, share * capacity) for share in plan.shares}
            memory = {server.name: server.running.memory_mb() for server in self.servers}
            yield Cell(self.world.model, self.cores, size, throughput, loads, memory)

    def at_rate(self, size: int, rate: float, seconds: float, rounds: int, *, share: float) -> Cell:
        """Open loops alone, at a rate that is known already. Raises RuntimeError where scores are wrong."""
        requests = self.world.requests[size]
        for server in self.servers:
            check_scores(server, self.world, requests[:CHECKED])
        targets = {server.name: server.target(requests) for server in self.servers}
        for target in targets.values():
            self._closed(target, WARM_S, 0)
        plan = Plan(rounds, seconds, load_rounds=rounds, load_s=(seconds, seconds))
        return Cell(self.world.model, self.cores, size, Rounds({}), {share: self._loads(targets, plan, rate)}, {})

    def _closed(self, target: Reachable, seconds: float, _: int) -> Outcome:
        return run_client(lambda: closed_loop(target, CLIENTS, seconds), self.cores)

    def _loads(self, targets: dict[str, Reachable], plan: Plan, rate: float) -> Rounds:
        """Open loops at one rate; a round's moments are the same for all."""
        seconds = plan.lasting(rate)

        def load(target: Reachable, turn: int) -> Outcome:
            return run_client(lambda: open_loop(target, rate, seconds, seed=turn), self.cores)

        return in_turns({name: partial(load, target) for name, target in targets.items()}, plan.load_rounds)


@contextmanager
def together(world: World, contenders: Sequence[Contender], cores: int, folder: Path) -> Iterator[Group]:
    """Starts the contenders on the same cores, and ends them on the way out."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                serving(each, world.bundle, folder / f"{world.model}-{cores}-{place}", server_cores(cores))
            )
            for place, each in enumerate(contenders)
        ]
        yield Group(world, cores, servers)


def check_scores(server: Server, world: World, requests: Sequence[RankRequest]) -> None:
    """Raises RuntimeError where an answer is not the reference's to 1e-5."""
    exact = world.ranker.using(Choice.only(Way(reference(world.ranker.bundle))))
    for request in requests:
        wanted = exact.rank(request).probabilities
        for transport in server.transports:
            for port in server.ports(transport):
                worst = float(np.abs(np.asarray(transport.answer(port, request)) - wanted).max())
                if not worst <= WITHIN:
                    far = f"{worst:.1e} away from the reference at {len(request.items)} candidates"
                    raise RuntimeError(f"{server.name} over {transport.name} scores {far}: its speed says nothing")
