"""Bundles that are trained once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.ranker.ranker import Ranker
from serving.ranker.settings import RankerSettings
from tests.serving.ranker.bundles import MGOE, MMOE, TARGET, World
from tests.serving.ranker.kserve_process import ServerProcess


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def bundles(world: World) -> dict[str, Path]:
    models = {"mmoe": MMOE, "mgoe": MGOE, "target": TARGET}
    return {name: world.bundle(name, model) for name, model in models.items()}


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def quick(cache: Path) -> RankerSettings:
    """Nothing is compiled."""
    return RankerSettings(cache=cache, scorers=("factorised",), arm="candidate")


@pytest.fixture(scope="session")
def rankers(bundles: dict[str, Path], quick: RankerSettings) -> Callable[[str], Ranker]:
    """By name of the bundle, loaded once."""
    loaded: dict[str, Ranker] = {}

    def get(name: str) -> Ranker:
        if name not in loaded:
            loaded[name] = Ranker.load(bundles[name], quick)
        return loaded[name]

    return get


@pytest.fixture(scope="session")
def world_log(world: World) -> Path:
    return world.folder / "log"


@pytest.fixture(scope="session")
def server(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The model server as a process, with the mgoe bundle."""
    with ServerProcess(bundles["mgoe"], tmp_path_factory.mktemp("server")) as process:
        yield process.wait_ready()
