"""Where a bundle is opened from: its own folder, or a private copy where it comes from S3 or must be signed.

A copy's folder is named by the manifest and the signature in it, so what stands there never becomes another bundle:
servers that share a cache share it, and one that fetches a newer bundle disturbs nobody.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

from model.artifact.manifest import MANIFEST_NAME, SIGNATURE_NAME, verify
from model.artifact.staging import as_fault
from model.artifact.store import open_store
from model.errors import UserError
from serving.ranker.cache import alone, evict, require_private
from serving.ranker.scorers import default_cache
from serving.ranker.settings import RankerSettings

COPIES = "bundles"
KEPT = 2
"""Copies that stay in the cache beside young ones. What is mapped lives on without its folder."""


@contextmanager
def bundle_folder(source: str | Path, settings: RankerSettings) -> Iterator[Path]:
    """The folder to open the bundle at `source` (a folder, file:// or s3://) from. Raises MgoeError.

    Where a signature is required, a copy is opened that nobody else can write to after it was checked.
    """
    text = str(source)
    parts = urlsplit(text)
    if parts.scheme == "s3":
        if not parts.netloc or not parts.path.strip("/"):
            raise UserError(f"bundle {text!r} names no key; write s3://bucket/key")
        yield _copy(partial(_fetch, text), settings)
        return
    folder = Path(unquote(parts.path)) if parts.scheme == "file" else Path(source)
    yield folder if settings.signature is None else _copy(partial(_take, folder), settings)


def _copy(bring: Callable[[Path], None], settings: RankerSettings) -> Path:
    """What `bring` brings to a new folder, at its own place in the cache."""
    root = (settings.cache or default_cache()) / COPIES
    try:
        require_private(root.parent)
        require_private(root)
        with TemporaryDirectory(prefix=".coming-", dir=root) as aside:
            came = Path(aside) / "bundle"
            bring(came)
            place = root / _name(came)
            with alone(root / ".lock"):
                if place.is_dir() and not _is_whole(place):
                    place.rename(Path(aside) / "broken")
                if place.is_dir():
                    place.touch()
                else:
                    came.rename(place)
                evict(root, KEPT)
    except OSError as error:
        raise as_fault(root, error) from error
    return place


def _fetch(address: str, out: Path) -> None:
    root, _, key = address.rstrip("/").rpartition("/")
    open_store(root).get_tree(key, out)


def _take(folder: Path, out: Path) -> None:
    verify(folder)  # the copy is verified again when it is opened
    shutil.copytree(folder, out, symlinks=True)


def _name(folder: Path) -> str:
    texts = [(folder / name).read_bytes() for name in (MANIFEST_NAME, SIGNATURE_NAME) if (folder / name).is_file()]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:32]


def _is_whole(folder: Path) -> bool:
    try:
        verify(folder)
    except UserError:
        return False
    return True
