"""Bundles that are trained once for all tests of this folder."""

from __future__ import annotations

import os
import shutil
import subprocess
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


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 64 KiB that is full but for some KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        pytest.skip("needs mount(8) to make a small disk")
    # An owner and a mode that a private cache has.
    options = f"size=64k,mode=0700,uid={os.geteuid()}"
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"needs the right to mount a small disk: {made.stderr.strip()}")
    try:
        (folder / "filler").write_bytes(b"x" * 60 * 1024)
        yield folder
    finally:
        subprocess.run([umount, "--lazy", str(folder)], check=True)  # what is mapped stays so
