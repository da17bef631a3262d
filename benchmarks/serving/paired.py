"""Measurements that compare two things in turns, so that whatever else the machine does meets both alike."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.serving.client import run_client, server_cores
from benchmarks.serving.contenders import Contender, plain_body, running
from benchmarks.serving.load import Outcome, Reachable, one_by_one, open_loop
from serving.ranker.open_inference import answer_object, encode
from serving.ranker.ranker import Ranker
from serving.ranker.request import RankRequest
from serving.ranker.validation import parse_json, parse_request

ROUNDS = 10
CALLS = 32
"""Of a round, to the server and in process."""
BATCH_ROUNDS = 7


@dataclass(frozen=True)
class Overhead:
    """p50 in ms without any load. rank: scoring in process. whole: with parsing and writing. served: a call."""

    rank: float
    whole: float
    served: float


def overhead(target: Reachable, ranker: Ranker, requests: Sequence[RankRequest], cores: int) -> Overhead:
    """A server's calls and the same in this process, on the server's own core, round by round."""
    limits = ranker.settings.limits
    bodies = [plain_body(request) for request in requests]

    def whole(place: int) -> None:
        value = parse_json(bodies[place], limits)
        encode(answer_object(ranker.rank(parse_request(value, limits, ranker.tasks, ranker.context_features))))

    seconds: dict[str, list[float]] = {"rank": [], "whole": [], "served": []}
    for turn in range(ROUNDS):
        places = [(turn * CALLS + place) % len(requests) for place in range(CALLS)]
        seconds["served"] += run_client(lambda places=places: one_by_one(target, places), cores)  # type: ignore[misc]
        seconds["rank"] += _in_process(lambda place: ranker.rank(requests[place]), places)
        seconds["whole"] += _in_process(whole, places)
    return Overhead(**{name: float(np.median(found)) * 1000 for name, found in seconds.items()})


def _in_process(call: Callable[[int], object], places: Sequence[int]) -> list[float]:
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, server_cores(1))
    try:
        seconds = []
        for place in places:
            begin = time.perf_counter()
            call(place)
            seconds.append(time.perf_counter() - begin)
        return seconds
    finally:
        os.sched_setaffinity(0, mine)


@dataclass(frozen=True)
class Batching:
    """Ratios of a server that batches to one that does not, a round each, at one rate on one core."""

    offered: float
    p50: tuple[float, ...]
    p99: tuple[float, ...]


def batching(
    batched: Contender, alone: Contender, bundle: Path, requests: Sequence[RankRequest], *, rate: float, seconds: float
) -> Batching:
    """Both servers run on the same core; each round loads one and then the other with the same moments."""
    folder = bundle.parent / "servers"
    cores = server_cores(1)
    with (
        running(batched, bundle, folder / "batched", cores) as first,
        running(alone, bundle, folder / "alone", cores) as second,
    ):
        targets = [batched.target(first.ports, requests), alone.target(second.ports, requests)]
        rounds: list[list[Outcome]] = []
        for turn in range(BATCH_ROUNDS + 1):
            order = (0, 1) if turn % 2 else (1, 0)
            found = {
                each: run_client(lambda each=each, turn=turn: open_loop(targets[each], rate, seconds, seed=turn), 1)  # type: ignore[misc]
                for each in order
            }
            rounds.append([found[0], found[1]])
    kept = rounds[1:]  # the first warms up
    return Batching(
        rate,
        tuple(with_.p50 / without.p50 for with_, without in kept),
        tuple(with_.p99 / without.p99 for with_, without in kept),
    )
