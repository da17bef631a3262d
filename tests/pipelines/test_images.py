"""The images, built for real by buildah on a base made by debootstrap: no engine, no registry. Minutes; root only."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASE = "localhost/mgoe-test-base:1"
NEEDED = ("buildah", "debootstrap", "tar")

pytestmark = [pytest.mark.images, pytest.mark.slow, pytest.mark.timeout(3600)]


@dataclass(frozen=True)
class Builder:
    """buildah with a storage of its own."""

    storage: Path

    @property
    def options(self) -> list[str]:
        return ["--root", str(self.storage / "root"), "--runroot", str(self.storage / "run")]

    def buildah(self, *arguments: str) -> str:
        done = subprocess.run(
            ["buildah", *self.options, *arguments], capture_output=True, text=True, check=False, env=environment()
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def run(self, image: str, *command: str) -> str:
        """What `command` prints in a container of the image, as the image's own user."""
        container = self.buildah("from", f"localhost/mgoe-test-{image}:1")
        try:
            return self.buildah("run", container, "--", *command)
        finally:
            self.buildah("rm", container)


def environment() -> dict[str, str]:
    return {**os.environ, "BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    """A builder whose storage holds the base image."""
    absent = [name for name in NEEDED if shutil.which(name) is None]
    if absent:
        pytest.skip(f"images cannot be built: {', '.join(absent)} not installed")
    if os.geteuid() != 0:
        pytest.skip("images cannot be built: buildah in a chroot and debootstrap need root")
    folder = tmp_path_factory.mktemp("images")
    packages = "python3,python3-venv,ca-certificates"
    system = folder / "system"
    command = ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(system)]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "base").mkdir()
    subprocess.run(["tar", "-C", str(system), "-czf", str(folder / "base" / "base.tgz"), "."], check=True)
    (folder / "base" / "Dockerfile").write_text("FROM scratch\nADD base.tgz /\n")
    made = Builder(folder)
    made.buildah("bud", "--quiet", "--tag", BASE, str(folder / "base"))
    yield made
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def pip_settings(builder: Builder) -> tuple[Path, list[str]]:
    """pip's settings on this machine as a file, and the folders that they name as mounts."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    settings = dict(line.split("=", 1) for line in listed.splitlines())
    lines = {key.split(".")[-1]: value.strip("'\"") for key, value in sorted(settings.items(), reverse=True)}
    path = builder.storage / "pip.conf"
    path.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items()))
    named = set(
        re.findall(r"(?:file://)?(/[^\s'\"]+)", " ".join(v for v in lines.values() if "://" not in v or "file:" in v))
    )
    mounts = sorted({name.removesuffix("/simple") for name in named if Path(name).exists()})
    return path, [flag for name in mounts for flag in ("--volume", f"{name}:{name}:ro")]


@pytest.fixture(scope="module", params=["pipeline", "control", "train", "serve"])
def image(request: pytest.FixtureRequest, builder: Builder, pip_settings: tuple[Path, list[str]]) -> str:
    """The name of an image that has just been built by the script that people use."""
    path, mounts = pip_settings
    name = str(request.param)
    done = subprocess.run(
        [str(ROOT / "images" / "build.sh"), name],
        capture_output=True,
        text=True,
        check=False,
        env={
            **environment(),
            "ENGINE": "buildah",
            "BASE": BASE,
            "PREFIX": "localhost/mgoe-test-",
            "TAG": "1",
            "PIP_CONF": str(path),
            "BUILDAH_STORAGE": " ".join(builder.options),
            "BUILDAH_OPTIONS": " ".join(mounts),
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return name


def test_the_image_runs_without_root_and_says_what_it_can(builder: Builder, image: str) -> None:
    assert builder.run(image, "id", "-u") == "10001"
    assert "Usage: mgoe" in builder.run(image, "mgoe", "--help")
    torch = builder.run(
        image, "python3", "-c", "from importlib.util import find_spec as f; print(f('torch') is not None)"
    )
    assert torch == str(image in {"train", "serve"})
    if image == "pipeline":
        assert "pipelineInfo" in builder.run(image, "mgoe", "pipeline", "compile")
    if image == "train":
        log = builder.run(image, "sh", "-c", STEP)
        assert "manifest.json" in log


STEP = """
python3 - <<'PYTHON'
from types import SimpleNamespace
from components.ingest.component import ingest
log = SimpleNamespace(name="log", path="/tmp/log", metadata={})
ingest.python_func(log=log)
PYTHON
ls /tmp/log
"""
