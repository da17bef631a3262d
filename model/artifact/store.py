"""Where artifacts are kept: a folder or an S3 bucket, behind one narrow protocol."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import unquote, urlsplit

from model.artifact.manifest import MANIFEST_NAME, Manifest, read_manifest, verify
from model.artifact.writer import Staging, is_disk_full, refuse_to_overwrite
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

    def keys(self, prefix: str = "") -> list[str]:
        """Keys of all whole artifacts that start with `prefix`, sorted."""


class FolderStore:
    """A store in a local folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = str(root)

    def put_tree(self, folder: Path, key: str) -> Manifest:
        return copy_verified(folder, self.root / check_key(key))

    def get_tree(self, key: str, folder: Path) -> Manifest:
        if not self.exists(key):
            raise UserError(f"store {self.uri}: no artifact under key {key!r}")
        return copy_verified(self.root / check_key(key), folder)

    def exists(self, key: str) -> bool:
        return (self.root / check_key(key) / MANIFEST_NAME).is_file()

    def keys(self, prefix: str = "") -> list[str]:
        found = (path.parent.relative_to(self.root) for path in self.root.rglob(MANIFEST_NAME))
        visible = (key for key in found if key.parts and not any(part.startswith(".") for part in key.parts))
        return sorted(key.as_posix() for key in visible if key.as_posix().startswith(prefix))


def open_store(uri: str) -> Store:
    """The store at `uri`: a folder path, file:///folder or s3://bucket/prefix. Raises UserError on another scheme."""
    parts = urlsplit(uri)
    if parts.scheme in ("", "file"):
        return FolderStore(Path(unquote(parts.path) if parts.scheme else uri))
    if parts.scheme == "s3":
        from model.artifact.s3_store import S3Store  # its client is wanted only here

        return S3Store.open(parts.netloc, parts.path.strip("/"))
    raise UserError(f"store {uri!r}: unknown scheme {parts.scheme!r}; use a folder, file:// or s3://bucket/prefix")


def check_key(key: str) -> str:
    """`key` itself where it is a plain relative path. Raises UserError otherwise."""
    path = PurePosixPath(key)
    hidden = any(part.startswith(".") for part in path.parts)
    if not path.parts or path.is_absolute() or hidden or str(path) != key:
        raise UserError(f"artifact key {key!r} is wrong: use a relative path such as models/mgoe")
    return key


def copy_verified(folder: Path, out: Path) -> Manifest:
    """Copies an artifact aside, verifies the copy and renames it onto `out`. Raises UserError when it is broken."""
    manifest = read_manifest(folder)
    refuse_to_overwrite(out, manifest.kind)
    try:
        staging = Staging(out)
        try:
            shutil.copytree(folder, staging.path, symlinks=True, dirs_exist_ok=True)
            verify(staging.path)
            staging.commit()
        except BaseException:
            staging.discard()
            raise
    except (OSError, shutil.Error) as error:
        if is_disk_full(error):
            raise Fault(f"no space left on the disk while writing {out}: nothing was kept") from error
        raise Fault(f"cannot copy artifact {folder} to {out}: {error}") from error
    return manifest
