"""Whether a raw log is the one that was ingested before: a digest of its files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pyarrow import fs

from model.artifact.manifest import digest_of_file, digest_of_files
from model.data.place import LogPlace, open_place
from model.errors import Fault

SUFFIXES = (".parquet", ".yaml", ".yml")


def fingerprint(source: str, schema: str | None) -> str:
    """Digest of the log at `source` and of the schema file it is read by.

    Local files count by their bytes, objects on S3 by size and time of writing (reading them all only to skip reading
    them would gain nothing). Raises UserError where there is no such log, Fault where S3 does not answer.
    """
    place = open_place(source)
    try:
        marks = dict(_mark(place, info) for info in _files(place))
    except OSError as error:
        raise Fault(f"log {source} cannot be read: {str(error).partition(chr(10))[0]}") from None
    if schema is not None:
        path = Path(schema)
        marks[":schema"] = digest_of_file(path) if path.is_file() else schema
    return digest_of_files(marks)


def _files(place: LogPlace) -> list[fs.FileInfo]:
    found = place.files.get_file_info(fs.FileSelector(place.root, recursive=True))
    return [info for info in found if info.type == fs.FileType.File and info.path.endswith(SUFFIXES)]


def _mark(place: LogPlace, info: fs.FileInfo) -> tuple[str, str]:
    name = info.path.removeprefix(place.root).lstrip("/")
    if isinstance(place.files, fs.LocalFileSystem):
        return name, digest_of_file(Path(info.path))
    return name, hashlib.sha256(f"{info.size}:{info.mtime_ns}".encode()).hexdigest()
