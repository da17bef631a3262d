"""Checkpoints in an artifact store: what a step that is started again on another machine goes on from."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from model.artifact.manifest import MANIFEST_NAME, Manifest, digest_of_file, digest_of_files, list_files
from model.artifact.store import Store
from model.errors import Fault, UserError

_KEPT = 2


class Mirror:
    """The checkpoints of one run under `checkpoints/<run>/` of a store, each an artifact: whole or not there.

    run: the hash that names the run. say: takes one line for the person who watches.
    """

    def __init__(self, store: Store, run: str, say: Callable[[str], None]) -> None:
        self._store = store
        self._prefix = f"checkpoints/{run[:32]}"
        self._say = say

    def put(self, checkpoint: Path) -> None:
        """Puts one checkpoint and drops what came before its forerunner.

        A store that fails does not stop the training: the next checkpoint tries again.
        """
        files = {name: digest_of_file(checkpoint / name) for name in list_files(checkpoint)}
        manifest = Manifest(kind="checkpoint", made_by="mgoe train", files=files, digest=digest_of_files(files))
        try:
            (checkpoint / MANIFEST_NAME).write_text(manifest.model_dump_json())
            self._store.put_tree(checkpoint, f"{self._prefix}/{checkpoint.name}")
            # Later ones are broken or of a run that was begun anew: this one has not been there yet.
            there = self._keys()
            reached = [key for key in there if key <= f"{self._prefix}/{checkpoint.name}"]
            self._remove(key for key in there if key not in reached[-_KEPT:])
        except (Fault, UserError, OSError) as error:
            self._say(f"checkpoint {checkpoint.name} is on this machine alone: {error}")

    def newer(self, than: str, folder: Path) -> Iterator[Path]:
        """Brings whole checkpoints into `folder`, in place of what has their names there: the newest first.

        than: name of the one that needs no bringing. Raises Fault where the store does not answer.
        """
        for key in reversed(self._keys()):
            here = folder / key.rpartition("/")[2]
            if here.name <= than:
                return
            shutil.rmtree(here, ignore_errors=True)
            try:
                self._store.get_tree(key, here)
            except UserError as broken:
                self._say(f"checkpoint {here.name} in {self._store.uri} cannot be used: {broken}")
            else:
                yield here

    def clear(self) -> None:
        """Removes all of them. A store that fails keeps them: they cost room and nothing else."""
        try:
            self._remove(self._keys())
        except Fault as error:
            self._say(f"checkpoints stay in {self._store.uri}/{self._prefix}: {error}")

    def _keys(self) -> list[str]:
        return self._store.keys(f"{self._prefix}/")

    def _remove(self, keys: Iterable[str]) -> None:
        for key in list(keys):
            self._store.remove(key)
