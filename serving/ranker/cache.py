"""A folder of what is made from a bundle at load: item parts and compiled scorers, each under the bundle's digest.

An entry is a folder with digests.json (the key it was made for and the SHA-256 of every file). It is made aside,
renamed into place, verified whenever it is opened, and made anew where anything differs. One process makes it, others
wait for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import platform
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import torch

import model.bundle
import model.nets
import serving.ranker
from model.artifact.manifest import digest_of_file, digest_of_files
from model.artifact.staging import Staging
from serving.ranker.refusal import NotReady

log = logging.getLogger(__name__)

DIGESTS = "digests.json"
CPU_FACTS = Path("/proc/cpuinfo")
_MAKERS = (model.bundle, model.nets, serving.ranker)
"""Packages whose code decides what the entries hold."""
_EXPORTERS = ("onnx", "onnxruntime", "onnxscript")
"""Distributions that decide it, too, beside torch."""

KEPT = 4
"""Bundles whose entries stay beside young ones."""
_YOUNG_S = 3600.0
_BUNDLE = re.compile(r"[0-9a-f]{32}")

Key = Mapping[str, str | int]


def machine_key(digest: str) -> dict[str, str | int]:
    """What a compiled artefact depends on beside its options."""
    return {
        "code": _code_digest(),
        "bundle": digest,
        "torch": torch.__version__,
        "exporters": ", ".join(f"{name} {_version(name)}" for name in _EXPORTERS),
        "cpu": f"{torch.backends.cpu.get_cpu_capability()} {_cpu_features()}",
    }


def _cpu_features() -> str:
    """What this processor can do: compilers use all of it, and its like under the same name may not have it."""
    text = CPU_FACTS.read_text() if CPU_FACTS.is_file() else ""
    lines = {line for line in text.splitlines() if line.startswith(("flags", "Features", "CPU part"))}
    return hashlib.sha256("\n".join(sorted(lines) or [platform.processor()]).encode()).hexdigest()[:16]


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "absent"


def _code_digest() -> str:
    """SHA-256 over the sources of `_MAKERS`: what other code made is made anew."""
    roots = {package.__name__: Path(next(iter(package.__path__))) for package in _MAKERS}
    files = {
        f"{name}/{path.relative_to(root)}": digest_of_file(path)
        for name, root in roots.items()
        for kind in ("*.py", "*.cpp")
        for path in root.rglob(kind)
    }
    return digest_of_files(files)


class DerivedCache:
    """Entries of one bundle below `root`, which belongs to this user alone: compiled code is loaded from it."""

    def __init__(self, root: Path, digest: str) -> None:
        """Raises NotReady where `root` could be written by others; OSError where it cannot be made."""
        require_private(root)
        self.folder = root / digest[:32]
        require_private(self.folder)
        os.utime(self.folder)
        evict(root, KEPT)
        self._key = machine_key(digest)

    def obtain(self, name: str, options: Key, make: Callable[[Path], None]) -> Path:
        """The entry's folder, made by `make` where it is not there, whole and of this very key."""
        key = {**self._key, **options}
        mark = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        out = self.folder / f"{name}-{mark}"
        with alone(self.folder / f".{name}-{mark}.lock"):
            if not _is_whole(out, key):
                begin = time.monotonic()
                _make(out, key, make)
                log.info("%s made in %.1f s", name, time.monotonic() - begin)
        return out


def _make(out: Path, key: Key, make: Callable[[Path], None]) -> None:
    staging = Staging(out)
    try:
        make(staging.path)
        files = {path.name: digest_of_file(path) for path in sorted(staging.path.iterdir()) if path.is_file()}
        (staging.path / DIGESTS).write_text(json.dumps({"key": dict(key), "files": files}, indent=1) + "\n")
        staging.commit()
    finally:
        staging.discard()


def _is_whole(out: Path, key: Key) -> bool:
    try:
        found = json.loads((out / DIGESTS).read_bytes())
        files = dict(found["files"])
        there = {path.name for path in out.iterdir()} - {DIGESTS}
        return (
            found["key"] == key
            and there == files.keys()
            and all(digest_of_file(out / name) == digest for name, digest in files.items())
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def evict(root: Path, kept: int, now: float | None = None) -> None:
    """Removes bundles' folders that nobody has opened for an hour, all but the `kept` youngest.

    A load takes minutes, and what a ranker maps it keeps: none of it looks for files that went.
    """
    end = (time.time() if now is None else now) - _YOUNG_S
    found = sorted(
        ((facts.st_mtime, path) for path in root.iterdir() if _BUNDLE.fullmatch(path.name) and (facts := path.stat())),
        reverse=True,
    )
    for opened, folder in found[kept:]:
        if opened < end:
            shutil.rmtree(folder, ignore_errors=True)


def require_private(folder: Path) -> None:
    """Makes the folder where it is not there. Raises NotReady where others could write to it; OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    facts = folder.stat()
    if facts.st_uid != os.geteuid() or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NotReady(
            f"cache folder {folder} can be written by others, and code is loaded from it; give a private one"
        )


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Holds the lock that the file `path` is, and waits for it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
