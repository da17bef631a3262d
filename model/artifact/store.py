"""Where artifacts are kept: a folder or an S3 bucket, behind one narrow protocol."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import unquote, urlsplit

from model.artifact.manifest import MANIFEST_NAME, Manifest, read_manifest
from model.artifact.staging import refuse_to_overwrite, staged
from model.errors import Fault, UserError


class Store(Protocol):
    """Keeps artifacts under keys such as `models/mgoe`. An artifact in it is whole or not there."""

    uri: str

    def put_tree(self, folder: Path, key: str) -> Manifest:
        """Puts the artifact in `folder` under `key`, replacing what was there. Its digests are verified first."""

    def get_tree(self, key: str, folder: Path) -> Manifest:
        """Brings the artifact under `key` to `folder`, verified, replacing an artifact that was there."""

    def exists(self, key: str) -> bool:
        """Whether a whole artifact stands under `key`."""

    def remove(self, key: str) -> None:
        """Removes the artifact under `key`; nothing where there is none."""

    def keys(self, prefix: str = "") -> list[str]:
        """Keys of all whole artifacts that start with `prefix`, sorted."""

    def check(self) -> None:
        """Raises now what a later `put_tree` would because of the place: it is not there, or takes nothing."""


class FolderStore:
    """A store in a local folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = str(root)

    def put_tree(self, folder: Path, key: str) -> Manifest:
        refuse_nested(self, check_key(key))
        return _copy(folder, self.root / key)

    def get_tree(self, key: str, folder: Path) -> Manifest:
        if not self.exists(key):
            raise UserError(f"store {self.uri}: no artifact under key {key!r}")
        return _copy(self.root / check_key(key), folder)

    def exists(self, key: str) -> bool:
        return (self.root / check_key(key) / MANIFEST_NAME).is_file()

    def remove(self, key: str) -> None:
        folder = self.root / check_key(key)
        if self.exists(key):
            (folder / MANIFEST_NAME).unlink()  # first: what is half removed is no artifact
            shutil.rmtree(folder)

    def keys(self, prefix: str = "") -> list[str]:
        start = self.root / prefix.rpartition("/")[0]  # keys with this prefix lie nowhere else
        found = (path.parent.relative_to(self.root) for path in start.rglob(MANIFEST_NAME))
        visible = (key for key in found if key.parts and not any(part.startswith(".") for part in key.parts))
        return sorted(key.as_posix() for key in visible if key.as_posix().startswith(prefix))

    def check(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.root).close()
        except OSError as error:
            raise Fault(f"store {self.uri} cannot be written to: {error.strerror}; name another folder") from None


def open_store(uri: str) -> Store:
    """The store at `uri`: a folder path, file:///folder or s3://bucket/prefix. Raises UserError on another one."""
    parts = urlsplit(uri)
    if not uri or (parts.scheme == "file" and not parts.path):
        raise UserError(f"store {uri!r} names no place; use a folder, file:// or s3://bucket/prefix")
    if parts.scheme in ("", "file"):
        return FolderStore(Path(unquote(parts.path) if parts.scheme else uri))
    if parts.scheme == "s3":
        from model.artifact.s3_store import S3Store  # noqa: PLC0415  its client is wanted only here

        return S3Store.open(parts.netloc, parts.path.strip("/"))
    raise UserError(f"store {uri!r}: unknown scheme {parts.scheme!r}; use a folder, file:// or s3://bucket/prefix")


def check_key(key: str) -> str:
    """`key` itself where it is a plain relative path. Raises UserError otherwise."""
    path = PurePosixPath(key)
    hidden = any(part.startswith(".") for part in path.parts)
    if not path.parts or path.is_absolute() or hidden or str(path) != key:
        raise UserError(f"artifact key {key!r} is wrong: use a relative path such as models/mgoe")
    return key


def refuse_nested(store: Store, key: str) -> None:
    """Raises UserError where an artifact under `key` would lie inside another one, or hold one."""
    for parent in PurePosixPath(key).parents[:-1]:
        if store.exists(str(parent)):
            raise UserError(f"artifact key {key!r} lies inside the artifact {str(parent)!r}; use another key")
    inner = store.keys(f"{key}/")
    if inner:
        raise UserError(f"artifact key {key!r} is a folder that holds the artifact {inner[0]!r}; use another key")


def _copy(folder: Path, out: Path) -> Manifest:
    """Copies the artifact in `folder` aside, verifies the copy and renames it onto `out`."""
    manifest = read_manifest(folder)
    refuse_to_overwrite(out, manifest.kind)
    with staged(out) as path:
        shutil.copytree(folder, path, symlinks=True, dirs_exist_ok=True)
    return manifest
