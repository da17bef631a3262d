"""Checkpoints: a folder a step with safetensors and JSON, written aside and renamed, the last two kept; in a store too,
where there is one.

No random state is stored: the order of rows is a function of (seed, epoch) and every step seeds its own dropout from
(seed, rank, step), so the step number alone is the position.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.artifact.manifest import digest_of_file
from model.artifact.staging import flush
from model.errors import Fault
from model.training.curve import Evaluation
from model.training.mirror import Mirror

_KEPT = 2
_STATE = "state.json"
_TENSORS = "tensors.safetensors"


class Position(BaseModel):
    """Where a run stands. run: hash of all that decides the weights; a checkpoint of another run is not resumed.

    loss_sum, loss_steps: of the steps since the last evaluation. seconds: spent so far over all attempts.
    train_seconds, train_rows: since the last evaluation. resumed_from: steps at which earlier attempts went on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str
    step: int = 0
    curve: tuple[Evaluation, ...] = ()
    loss_sum: float = 0.0
    loss_steps: int = 0
    train_seconds: float = 0.0
    train_rows: int = 0
    seconds: float = 0.0
    resumed_from: tuple[int, ...] = ()


class _Sealed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    position: Position
    tensors_sha256: str


Saved = tuple[Position, dict[str, Tensor]]
"""What a checkpoint holds."""


class BrokenCheckpointError(Exception):
    """Why a checkpoint cannot be used; `Checkpoints.latest` turns it into one line and goes on to the one before."""


class Checkpoints:
    """The checkpoints of one run in `folder`. say: takes one line for the person who watches.

    mirror: where they go as well, and come from where the folder has no whole one as new.
    """

    def __init__(self, folder: Path, run: str, say: Callable[[str], None], mirror: Mirror | None = None) -> None:
        self.folder = folder
        self.run = run
        self._say = say
        self._mirror = mirror

    def save(self, position: Position, tensors: dict[str, Tensor]) -> Path:
        """Writes one checkpoint whole or not at all; keeps it and the one before. Raises Fault when it cannot."""
        final = self.folder / _name(position.step)
        aside = self.folder / f".{final.name}.writing"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            save_file(separate(tensors), aside / _TENSORS)
            sealed = _Sealed(position=position, tensors_sha256=digest_of_file(aside / _TENSORS))
            (aside / _STATE).write_text(sealed.model_dump_json(indent=1))
            for name in (_TENSORS, _STATE):
                flush(aside / name)
            shutil.rmtree(final, ignore_errors=True)
            aside.rename(final)
            flush(self.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise Fault(f"checkpoint {final} cannot be written: {error}") from error
        # Later steps are broken or another run's: this one has not been there yet.
        reached = [folder for folder in self._all() if folder <= final]
        for folder in self._all():
            if folder not in reached[-_KEPT:]:
                shutil.rmtree(folder, ignore_errors=True)
        if self._mirror is not None:
            self._mirror.put(final)
        return final

    def latest(self) -> Saved | None:
        """The newest whole checkpoint of this run, here or in the store; None where there is none.

        Raises Fault where the store does not answer: to begin anew would throw away what it holds.
        """
        found = self._first_whole(reversed(self._all()))
        if self._mirror is not None:
            reached = "" if found is None else _name(found[0].step)
            found = self._first_whole(self._mirror.newer(reached, self.folder)) or found
        return found

    def _first_whole(self, folders: Iterable[Path]) -> Saved | None:
        """The first of `folders` that holds a whole checkpoint of this run; a line for each that is passed over."""
        for folder in folders:
            try:
                position, tensors = _read(folder)
            except BrokenCheckpointError as broken:
                self._say(f"checkpoint {folder} is broken ({broken}): passed over")
                continue
            if position.run == self.run:
                return position, tensors
            self._say(f"checkpoint {folder} belongs to another run (inputs, options or code differ): passed over")
        return None

    def clear(self) -> None:
        """Removes all of them, and the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._mirror is not None:
            self._mirror.clear()

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


def _name(step: int) -> str:
    return f"step-{step:010d}"


def _read(folder: Path) -> Saved:
    try:
        sealed = _Sealed.model_validate_json((folder / _STATE).read_text())
        digest = digest_of_file(folder / _TENSORS)
        if digest != sealed.tensors_sha256:
            raise BrokenCheckpointError(f"{_TENSORS} has digest {digest[:12]}, not {sealed.tensors_sha256[:12]}")
        return sealed.position, load_file(folder / _TENSORS)
    except FileNotFoundError as error:
        raise BrokenCheckpointError(f"{Path(error.filename).name} is missing") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise BrokenCheckpointError(f"{_STATE} is not readable") from error
    except (OSError, SafetensorError) as error:
        raise BrokenCheckpointError(str(error)) from error


def separate(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors on the CPU, contiguous, none sharing memory with another (tied weights), for safetensors."""
    seen: set[int] = set()
    apart: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        whole = tensor.detach().cpu().contiguous()
        memory = whole.untyped_storage().data_ptr()
        apart[name] = whole.clone() if memory in seen else whole
        seen.add(memory)
    return apart


def fingerprint(*parts: object) -> str:
    """SHA-256 over the JSON of `parts`, keys sorted."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
