"""Writes an artifact: fill a folder, state the facts, and it stands at its place, digested and whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from model.artifact.manifest import (
    MANIFEST_NAME,
    Kind,
    Manifest,
    Source,
    digest_of_file,
    digest_of_files,
    list_files,
)
from model.artifact.staging import Staging, as_fault, is_disk_full, refuse_to_overwrite


class ArtifactWriter:
    """Context manager: fill `path`, set `facts`; on a clean exit the artifact stands at `out`, whole.

    On an error nothing is left behind. An empty folder, or an artifact of the same kind, at `out` is replaced.
    Raises UserError when `out` holds something else, Fault when the disk is full.
    """

    def __init__(self, out: Path, kind: Kind, made_by: str, made_from: Sequence[Source] = ()) -> None:
        self.out = out
        self.kind: Kind = kind
        self.made_by = made_by
        self.made_from = tuple(made_from)
        self.facts: dict[str, str | int | float | bool | list[str] | dict[str, float]] = {}
        self._staging: Staging | None = None
        self._manifest: Manifest | None = None

    @property
    def path(self) -> Path:
        """The temporary folder to fill."""
        if self._staging is None:
            raise RuntimeError("ArtifactWriter.path is there only inside the with block")
        return self._staging.path

    @property
    def manifest(self) -> Manifest:
        """What was written; there after a clean exit."""
        if self._manifest is None:
            raise RuntimeError("ArtifactWriter.manifest is there only after a clean exit of the with block")
        return self._manifest

    def __enter__(self) -> ArtifactWriter:
        refuse_to_overwrite(self.out, self.kind)
        try:
            self._staging = Staging(self.out)
        except OSError as error:
            raise as_fault(self.out, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        staging, self._staging = self._staging, None
        if staging is None:
            raise RuntimeError("ArtifactWriter left without being entered")
        try:
            if error is None:
                self._manifest = self._finish(staging)
            elif is_disk_full(error):
                raise as_fault(self.out, error) from error
        except OSError as failure:
            raise as_fault(self.out, failure) from failure
        finally:
            staging.discard()

    def _finish(self, staging: Staging) -> Manifest:
        files = {name: digest_of_file(staging.path / name) for name in list_files(staging.path)}
        manifest = Manifest(
            kind=self.kind,
            made_by=self.made_by,
            made_from=self.made_from,
            files=files,
            facts=self.facts,
            digest=digest_of_files(files),
        )
        (staging.path / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2) + "\n")
        staging.commit()
        return manifest
