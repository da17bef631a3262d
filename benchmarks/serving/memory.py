"""What a second worker costs: resident and proportional memory of two processes that serve one large bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.client import run_client, server_cores
from benchmarks.serving.contenders import Contender, serving
from benchmarks.serving.enlarged import enlarge
from benchmarks.serving.load import closed_loop
from benchmarks.serving.world import draw_requests
from model.bundle.bundle import open_bundle
from model.bundle.footprint import footprint

USERS, ITEMS = 1_000_000, 200_000
QUICK_USERS, QUICK_ITEMS = 50_000, 20_000


@dataclass(frozen=True)
class Memory:
    """Megabytes. parts: name, size, size per million nodes. one: the set of a single worker; two: of two together.

    rss counts a page in every process that maps it, pss once.
    """

    parts: list[tuple[str, float, float | None]]
    one_rss: float
    two_rss: float
    two_pss: float


def memory_of(contender: Contender, bundle: Path, folder: Path, cache: Path, *, quick: bool, seconds: float) -> Memory:
    """Enlarges the bundle and serves it by one worker, then by two, each asked for random users and items."""
    users, items = (QUICK_USERS, QUICK_ITEMS) if quick else (USERS, ITEMS)
    large = folder / f"large-{bundle.name}"
    if not large.is_dir():
        enlarge(bundle, large, users, items)
    requests = draw_requests(large, 500, 256)
    found: list[tuple[float, float]] = []
    for workers in (1, 2):
        with serving(contender, large, folder / f"memory-{workers}", server_cores(1) * workers) as server:
            target = server.target(requests)
            run_client(lambda target=target: closed_loop(target, 4, seconds), 1)  # type: ignore[misc]
            found.append((server.running.memory_mb("Rss"), server.running.memory_mb("Pss")))
    return Memory(
        [*footprint(large, open_bundle(large)).lines(), _item_parts(cache, items)],
        one_rss=found[0][0],
        two_rss=found[1][0],
        two_pss=found[1][1],
    )


def _item_parts(cache: Path, items: int) -> tuple[str, float, float]:
    """What the ranker computes ahead for every item. cache: of this bundle alone."""
    size = sum(path.stat().st_size for path in cache.rglob("*.npy"))
    return "item parts, computed at load", size / 1e6, size / items
