"""The frame around every step: reuse what is whole, publish what is made, fail in one line with the right exit code."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from components.events import Event, tell
from components.run_end import end_with_the_run
from components.shelf import Shelf, Work, local_shelf
from model.artifact.code_version import code_version
from model.artifact.manifest import Manifest, read_manifest
from model.artifact.store import open_store
from model.errors import MgoeError

STORED = "stored"
"""Metadata of an artifact that was published: where in the store it is, for whoever fetches it from elsewhere."""


@dataclass
class Step:
    """One execution of one step."""

    name: str
    """As people see it: `train baseline`."""
    store: str | None
    reused: bool = False
    folder: Path | None = None
    key: str = ""
    """Where the artifact goes in the store; known once it has to be made."""
    code: str = ""
    """Version of the code that makes it; known by then, too."""
    notes: list[str] = field(default_factory=list)
    _shelf: Shelf | None = None

    def produce(
        self,
        output: object,
        *,
        entry: str | Sequence[str],
        inputs: Mapping[str, Path | str],
        options: Mapping[str, object],
        make: Callable[[Path], Manifest],
    ) -> Manifest:
        """Bring the step's artifact from the shelf, or `make` it in the folder handed over, and publish it.

        output: the kfp artifact, pointed at the folder and given digest and facts. inputs: artifact folders, or digests
        of what is no artifact. entry: the module or modules that do the work, whose code is part of the key.
        """
        digests = {name: _digest(value) for name, value in inputs.items()}
        self.code = code_version(*([entry] if isinstance(entry, str) else entry))
        key = self.key = Work(self.name.split()[0], self.code, digests, options).key
        shelf = self._shelf = Shelf(local_shelf(), None if self.store is None else open_store(self.store))
        folder = shelf.place(key, Path(str(output.path)))  # type: ignore[attr-defined]  # kfp carries no types
        manifest = shelf.bring(key, folder)
        self.reused = manifest is not None
        if manifest is None:
            manifest = make(folder)
        self.publish(folder)
        self.folder = folder
        output.path = str(folder)  # type: ignore[attr-defined]
        output.metadata.update(_metadata(manifest))  # type: ignore[attr-defined]
        if self.store is not None:
            root = self.store.rstrip("/") if "://" in self.store else str(Path(self.store).absolute())
            output.metadata[STORED] = f"{root}/{key}"  # type: ignore[attr-defined]
        return manifest

    def publish(self, folder: Path) -> None:
        """Hand the artifact in `folder` on to the store; what makes it may do so before it cleans up."""
        if self._shelf is not None:
            self._shelf.publish(self.key, folder)


@contextmanager
def step(name: str, store: str | None = None) -> Iterator[Step]:
    """Run the body as the step `name`, telling when it starts, how it ends and why it failed.

    An error that a person can mend ends the process with its exit code and one line; anything else keeps its traceback.
    """
    this = Step(name, store)
    started = time.monotonic()
    end_with_the_run()
    tell(Event(step=name, state="started"))
    try:
        yield this
    except MgoeError as error:
        tell(_failure(name, started, str(error), error.exit_code))
        sys.stderr.write(f"{name}: {error}\n")
        raise SystemExit(error.exit_code) from None
    except Exception as error:
        first_line = str(error).partition("\n")[0]
        tell(_failure(name, started, f"{type(error).__name__}: {first_line}", 1))
        raise
    tell(
        Event(
            step=name,
            state="reused" if this.reused else "made",
            seconds=time.monotonic() - started,
            message="; ".join(this.notes) or None,
            folder=None if this.folder is None else str(this.folder),
        )
    )


def _failure(name: str, started: float, message: str, exit_code: int) -> Event:
    seconds = time.monotonic() - started
    return Event(step=name, state="failed", seconds=seconds, message=message, exit_code=exit_code)


def _metadata(manifest: Manifest) -> dict[str, object]:
    """What Kubeflow's pages show beside the artifact; numbers that JSON cannot carry are left out."""
    facts = {name: value for name, value in manifest.facts.items() if isinstance(value, str | int | float | bool)}
    finite = {name: value for name, value in facts.items() if isinstance(value, str) or math.isfinite(value)}
    return {"digest": manifest.digest, "made_by": manifest.made_by, **finite}


def _digest(value: Path | str) -> str:
    return read_manifest(value).digest if isinstance(value, Path) else value
