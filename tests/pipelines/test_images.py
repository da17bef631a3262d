"""The images, built for real by buildah on a base made by debootstrap: no engine, no registry. Minutes; root only."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.serving.ranker.bundles import MGOE, World

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

    def run(self, image: str, *command: str, mount: Path | None = None) -> str:
        """What `command` prints in a container of the image, as the image's own user; `mount` is its /bundle."""
        container = self.buildah("from", f"localhost/mgoe-test-{image}:1")
        volume = [] if mount is None else ["--volume", f"{mount}:/bundle:ro"]
        try:
            return self.buildah("run", *volume, container, "--", *command)
        finally:
            self.buildah("rm", container)

    def megabytes(self, image: str) -> int:
        """What the project and its packages take in the image."""
        return int(self.run(image, "du", "-sm", "/opt/mgoe").split()[0])


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


@pytest.fixture
def build(builder: Builder, pip_settings: tuple[Path, list[str]]) -> Iterator[Callable[[str], str]]:
    """Builds an image by the script that people use; what was built goes when the test ends."""
    path, mounts = pip_settings
    built: list[str] = []

    def make(name: str) -> str:
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
                "TORCH_INDEX": "",
                "PIP_CONF": str(path),
                "BUILDAH_STORAGE": " ".join(builder.options),
                "BUILDAH_OPTIONS": " ".join(mounts),
            },
        )
        assert done.returncode == 0, done.stderr[-3000:]
        built.append(name)
        assert builder.run(name, "id", "-u") == "10001"
        assert "Usage: mgoe" in builder.run(name, "mgoe", "--help")
        return name

    yield make
    for name in reversed(built):
        builder.buildah("rmi", "--force", f"localhost/mgoe-test-{name}:1")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return World(tmp_path_factory.mktemp("world")).bundle("mgoe", MGOE)


def test_the_pipeline_image_compiles_the_pipeline_without_torch(builder: Builder, build: Callable[[str], str]) -> None:
    image = build("pipeline")
    assert "pipelineInfo" in builder.run(image, "mgoe", "pipeline", "compile")
    assert not has(builder, image, "torch")
    assert builder.megabytes(image) < 800


def test_the_control_image_keeps_evidence_without_torch_and_kfp(builder: Builder, build: Callable[[str], str]) -> None:
    image = build("control")
    assert "Usage: mgoe evidence" in builder.run(image, "mgoe", "evidence", "--help")
    assert not has(builder, image, "torch")
    assert not has(builder, image, "kfp")
    assert builder.megabytes(image) < 800


def test_a_component_runs_in_the_train_image(builder: Builder, build: Callable[[str], str]) -> None:
    image = build("train")
    assert "manifest.json" in builder.run(image, "sh", "-c", STEP)
    assert builder.megabytes(image) < 3000


def test_the_serve_image_scores_a_bundle_as_its_own_user_and_its_descendants_have_java_and_a_compiler(
    builder: Builder, build: Callable[[str], str], bundle: Path
) -> None:
    serve = build("serve")
    assert builder.megabytes(serve) < 3000
    assert "ready as 10001" in builder.run(serve, "sh", "-c", SERVE, mount=bundle)
    compiler = build("serve-compiler")
    assert "Free Software Foundation" in builder.run(compiler, "g++", "--version")
    assert "ready as 10001" in builder.run(compiler, "sh", "-c", SERVE, mount=bundle)
    torchserve = build("torchserve")
    assert "ready as 10001" in builder.run(torchserve, "sh", "-c", TORCHSERVE, mount=bundle)


def has(builder: Builder, image: str, package: str) -> bool:
    """Whether Python in the image finds the package."""
    code = f"from importlib.util import find_spec; print(find_spec({package!r}) is not None)"
    return builder.run(image, "python3", "-c", code) == "True"


STEP = """
python3 - <<'PYTHON'
from types import SimpleNamespace
from components.ingest.component import ingest
log = SimpleNamespace(name="log", path="/tmp/log", metadata={})
ingest.python_func(log=log)
PYTHON
ls /tmp/log
"""

SERVE = """
mgoe serve --bundle /bundle --http-port 18080 --no-grpc >/tmp/said 2>&1 &
server=$!
python3 - <<'PYTHON'
import time, urllib.request
end = time.monotonic() + 300
while time.monotonic() < end:
    try:
        if urllib.request.urlopen("http://127.0.0.1:18080/v2/health/ready", timeout=5).status == 200:
            import os
            print("ready as", os.getuid())
            break
    except OSError:
        time.sleep(0.5)
PYTHON
kill $server
wait $server
cat /tmp/said
"""

TORCHSERVE = """
cd /tmp
mgoe torchserve archive --bundle /bundle --out /tmp/archive
mgoe torchserve serve /tmp/archive --run /tmp/run >/tmp/said 2>&1 &
server=$!
for i in $(seq 100); do
  if mgoe torchserve ready --run /tmp/run >/tmp/why 2>&1; then echo "ready as $(id -u)"; break; fi
  sleep 1
done
kill $server
wait $server
tail -n 20 /tmp/why /tmp/said
"""
