"""The planted world behind a synthetic log: clusters, their affinities, and rows that follow from them. Pure.

Every row is a function of (seed, row number): a counter-based generator (Philox, Salmon et al., SC'11) is moved to the
row, so that any slice of a log can be made on its own and a log of any size needs bounded memory.

Legend: N rows, U users, I items, K user clusters, C item clusters, T tasks, R rows a request.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from model.data.dataset import Int32, Int64, UInt8
from model.data.synthetic_config import SyntheticConfig

Float64 = npt.NDArray[np.float64]

ROWS_PER_REQUEST = 5
_DAY = 86_400_000
_START = 1_704_067_200_000
"""2024-01-01 00:00 UTC in milliseconds."""
# Uniform numbers a row takes; a Philox step yields four, so a multiple of four keeps rows aligned.
_DRAWS_PER_ROW = 8
_DRAWS_PER_REQUEST = 4
_ROW_STREAM, _REQUEST_STREAM, _WORLD_STREAM = 1, 2, 3


@dataclass(frozen=True)
class Members:
    """One side of the world. cluster: [n]. weight: [n], activity of a user or popularity of an item.

    lift: [n, T], own inclination on top of the cluster's. born: [n], moment (ms) before which a cold one is never met.
    """

    cluster: Int32
    weight: Float64
    lift: Float64
    born: Int64


@dataclass(frozen=True)
class Draws:
    """Running sums that members are drawn by; made once, as a row takes no more than a look into them.

    users, items: of all weights. warm_users, warm_items: of those that are met from the start. by_cluster: items [I],
    cluster by cluster; in_cluster: [I + 1], running weights in that order; clusters: [C + 1], where each begins in it.
    """

    users: Float64
    warm_users: Float64
    items: Float64
    warm_items: Float64
    by_cluster: Int64
    in_cluster: Float64
    clusters: Float64

    @classmethod
    def of(cls, users: Members, items: Members, item_clusters: int) -> Draws:
        by_cluster = np.argsort(items.cluster, kind="stable")
        in_cluster = np.concatenate([[0.0], np.cumsum(items.weight[by_cluster])])
        return cls(
            users=np.cumsum(users.weight),
            warm_users=np.cumsum(np.where(users.born > _START, 0.0, users.weight)),
            items=np.cumsum(items.weight),
            warm_items=np.cumsum(np.where(items.born > _START, 0.0, items.weight)),
            by_cluster=by_cluster,
            in_cluster=in_cluster,
            clusters=in_cluster[np.searchsorted(items.cluster[by_cluster], np.arange(item_clusters + 1))],
        )


@dataclass(frozen=True)
class World:
    """affinity: [K, C, T], what users feel for items, by cluster. taste: [K, C], what the recommender shows them."""

    config: SyntheticConfig
    users: Members
    items: Members
    affinity: Float64
    taste: Float64
    drift_phase: Float64
    bias: Float64
    draws: Draws


@dataclass(frozen=True)
class Rows:
    """Impressions. time: ms. label: [N, T], each task only where the weaker holds. probability: [N, T], the truth."""

    user: Int64
    item: Int64
    time: Int64
    request: Int64
    slot: Int64
    label: UInt8
    probability: Float64


def make_world(config: SyntheticConfig) -> World:
    """The world of `config.seed`."""
    rng = np.random.default_rng([config.seed, _WORLD_STREAM])
    n_tasks = len(config.tasks)
    shape = (config.user_clusters, config.item_clusters)
    shared = rng.normal(size=shape)
    own = rng.normal(size=(*shape, n_tasks))
    affinity = config.affinity * (0.8 * shared[:, :, None] + 0.6 * own)
    taste = np.exp(config.exposure_taste * shared)
    cold_from = _START + int(config.days * _DAY * (1 - config.test_share))
    users = _members(rng, config, cold_from, count=config.users, clusters=config.user_clusters, skew=config.user_skew)
    items = _members(rng, config, cold_from, count=config.items, clusters=config.item_clusters, skew=config.item_skew)
    bias = np.array([np.log(task.rate / (1 - task.rate)) for task in config.tasks])
    phase = rng.uniform(0, 2 * np.pi, size=config.item_clusters)
    draws = Draws.of(users, items, config.item_clusters)
    return World(config, users, items, affinity, taste / taste.sum(axis=1, keepdims=True), phase, bias, draws)


def make_rows(world: World, start: int, stop: int) -> Rows:
    """Rows [start, stop) of the log, oldest first; any slicing of the log gives the same rows."""
    config = world.config
    row = np.arange(start, stop, dtype=np.int64)
    request = row // ROWS_PER_REQUEST
    first = int(request[0]) if len(request) else 0
    asked = _uniform(
        config.seed, _REQUEST_STREAM, _DRAWS_PER_REQUEST, first, int(request[-1]) + 1 if len(request) else 0
    )
    asked_N = asked[request - first]
    draw = _uniform(config.seed, _ROW_STREAM, _DRAWS_PER_ROW, start, stop)
    time = _time_of(row, config)
    user = _pick_user(world, asked_N, _time_of(request * ROWS_PER_REQUEST, config))
    item = _pick_item(world, user, draw, time)
    slot = row % ROWS_PER_REQUEST
    probability = _probability(world, user, item, slot, time)
    label = _nested(probability, draw[:, 4 : 4 + len(config.tasks)])
    unconditional = np.multiply.accumulate(probability, axis=1)
    return Rows(user, item, time, request, slot, label, unconditional)


def _members(
    rng: np.random.Generator, config: SyntheticConfig, cold_from: int, *, count: int, clusters: int, skew: float
) -> Members:
    cluster = rng.integers(0, clusters, size=count).astype(np.int32)
    lift = config.own_lift * rng.normal(size=(count, len(config.tasks)))
    weight = np.exp(skew * rng.normal(size=count))
    cold = rng.random(count) < config.cold_share
    cold[0] = False
    return Members(cluster, weight, lift, np.where(cold, cold_from, _START).astype(np.int64))


def _uniform(seed: int, stream: int, draws: int, start: int, stop: int) -> Float64:
    """[stop - start, draws] in [0, 1): the numbers of those rows alone."""
    generator = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64))
    generator.advance(start * draws // 4)
    return np.random.Generator(generator).random((max(stop - start, 0), draws))


def _time_of(row: Int64, config: SyntheticConfig) -> Int64:
    """Moments (ms) that rise with the row; noon is busier than the night."""
    even = row * (config.days / config.rows)
    warped = even + 0.8 * np.sin(2 * np.pi * even) / (2 * np.pi)
    time: Int64 = (_START + np.clip(warped, 0, config.days) * (_DAY - 1)).astype(np.int64)
    return time


def _pick_user(world: World, asked: Float64, time: Int64) -> Int64:
    anyone = _by_weight(world.draws.users, asked[:, 0])
    warm = _by_weight(world.draws.warm_users, asked[:, 1])
    return np.where(world.users.born[anyone] > time, warm, anyone)


def _pick_item(world: World, user: Int64, draw: Float64, time: Int64) -> Int64:
    """By popularity, or, in a share of the rows, from a cluster that the recommender believes in."""
    draws = world.draws
    taste = np.cumsum(world.taste, axis=1)[world.users.cluster[user]]
    chosen = np.minimum((draw[:, [1]] >= taste).sum(axis=1), world.config.item_clusters - 1)
    # A cluster without an item has no mass; such a draw falls on its neighbour.
    start = draws.clusters[chosen]
    place = start + draw[:, 2] * (draws.clusters[chosen + 1] - start)
    at = np.searchsorted(draws.in_cluster, place, side="right") - 1
    liked = draws.by_cluster[np.clip(at, 0, len(draws.by_cluster) - 1)]
    popular = _by_weight(draws.items, draw[:, 2])
    item = np.where(draw[:, 0] < world.config.exposure_share, liked, popular)
    warm = _by_weight(draws.warm_items, draw[:, 3])
    return np.where(world.items.born[item] > time, warm, item)


def _by_weight(reached: Float64, draw: Float64) -> Int64:
    """Members by running weights; the draws are looked up in order, which keeps large tables in the cache."""
    order = np.argsort(draw)
    place = np.empty(len(draw), dtype=np.int64)
    place[order] = np.searchsorted(reached, draw[order] * reached[-1], side="right")
    return np.minimum(place, len(reached) - 1)


def _probability(world: World, user: Int64, item: Int64, slot: Int64, time: Int64) -> Float64:
    """[N, T]: of each task, given the weaker one."""
    user_cluster, item_cluster = world.users.cluster[user], world.items.cluster[item]
    day = (time - _START) / _DAY
    season = world.config.drift * np.sin(2 * np.pi * day / 28 + world.drift_phase[item_cluster])
    logit = world.bias + world.affinity[user_cluster, item_cluster]
    logit = logit + world.users.lift[user] + world.items.lift[item] + season[:, None]
    # People see the first places of a page more; only the weakest task feels it.
    logit[:, 0] -= 0.25 * slot
    probability: Float64 = expit(logit)
    return probability


def _nested(probability: Float64, draw: Float64) -> UInt8:
    return np.cumprod(draw < probability, axis=1).astype(np.uint8)
