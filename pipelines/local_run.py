"""The same pipeline on one machine: kfp's SubprocessRunner runs the steps; what they tell is progress and errors."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from io import TextIOBase
from pathlib import Path
from typing import TextIO

import yaml

from components.events import EVENTS_VARIABLE, Event, read_events
from components.run_end import LOCK_VARIABLE
from components.shelf import SHELF_VARIABLE
from model.errors import Fault, MgoeError, UserError
from model.registry.gate import GateRefused
from pipelines.rendering import write_text

_SAID_BY_CODE: Mapping[int, type[MgoeError]] = {kind.exit_code: kind for kind in (UserError, GateRefused)}


@dataclass(frozen=True)
class RunFolder:
    """What lies where under `--out`."""

    root: Path

    @property
    def artifacts(self) -> Path:
        """Artifacts by the key of the step that made them; what later runs reuse."""
        return self.root / "artifacts"

    @property
    def kfp(self) -> Path:
        """kfp's own outputs: one folder a run, with a pointer to every artifact."""
        return self.root / "kfp"

    @property
    def log(self) -> Path:
        """Everything that steps and kfp printed in the last run."""
        return self.root / "run.log"

    @property
    def events(self) -> Path:
        return self.root / "events.jsonl"

    @property
    def pipeline(self) -> Path:
        """The compiled pipeline of the last run."""
        return self.root / "pipeline.yaml"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def registry(self) -> str:
        return f"sqlite:///{(self.root / 'registry.db').absolute()}"


def run_locally(
    folder: RunFolder,
    pipeline: str,
    arguments: Mapping[str, str | int],
    listen: Callable[[Event], None],
    echo: TextIO | None = None,
    *,
    lock: Path | None = None,
) -> None:
    """Run a compiled pipeline, one subprocess a step.

    pipeline: YAML of the local form. arguments: its parameters. listen: called with every event of a step. echo: where
    the steps' own output goes besides the log file. lock: the file that this process holds locked; steps end when it is
    free. Raises what a failing step said: UserError, GateRefused or Fault, by its exit code.
    """
    try:
        folder.artifacts.mkdir(parents=True, exist_ok=True)
        folder.events.write_text("")
    except OSError as error:
        raise Fault(f"cannot write to {folder.root}: {error.strerror}; name another folder with --out") from None
    write_text(without_absent(pipeline, arguments), folder.pipeline)
    heard = _Heard(folder.events, listen)
    with folder.log.open("w", encoding="utf-8") as log, heard.listening():
        failure = _run_kfp(folder, arguments, _Sink(log, echo), lock)
    if failure is not None:
        raise _explain(failure, heard.last, folder)


def without_absent(pipeline: str, given: Collection[str]) -> str:
    """The compiled pipeline without the optional parameters that are not given and have no default.

    A cluster leaves an absent parameter out by itself; kfp.local fails on it, be it the pipeline's ("Unknown value
    type") or a component's (int(None)).
    """
    spec = yaml.safe_load(pipeline)
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    absent = {name for name, entry in parameters.items() if name not in given and "defaultValue" not in entry}
    for name in absent:
        del parameters[name]
    for task in spec["root"]["dag"]["tasks"].values():
        inputs = task.get("inputs", {}).get("parameters", {})
        for name in [name for name, source in inputs.items() if source.get("componentInputParameter") in absent]:
            del inputs[name]
            del spec["components"][task["componentRef"]["name"]]["inputDefinitions"]["parameters"][name]
    return yaml.safe_dump(spec)


def _run_kfp(folder: RunFolder, arguments: Mapping[str, str | int], sink: _Sink, lock: Path | None) -> Exception | None:
    """Run the compiled file. kfp raises RuntimeError for a failing task and says no more."""
    with contextlib.redirect_stdout(sink), _environment(folder, lock), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about images that are not used and limits that do not hold here
        from kfp import components, local  # noqa: PLC0415  # prints and warns on import

        local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(folder.kfp), raise_on_error=True)
        pipeline = components.load_component_from_file(str(folder.pipeline))
        try:
            pipeline(**arguments)
        except RuntimeError as error:
            return error
    return None


@contextlib.contextmanager
def _environment(folder: RunFolder, lock: Path | None) -> Iterator[None]:
    """What the steps read from their environment; kfp hands ours on to them."""
    wanted = {
        EVENTS_VARIABLE: str(folder.events.absolute()),
        SHELF_VARIABLE: str(folder.artifacts.absolute()),
        "PYTHONWARNINGS": "ignore",
    }
    if lock is not None:
        wanted[LOCK_VARIABLE] = str(lock.absolute())
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _explain(failure: Exception, last: Event | None, folder: RunFolder) -> MgoeError:
    """The failing step's own words; where it died without any, what is known."""
    if last is not None and last.state == "failed":
        said = f"{last.step}: {last.message}"
        kind = _SAID_BY_CODE.get(last.exit_code or Fault.exit_code)
        return Fault(f"{said} (log: {folder.log})") if kind is None else kind(said)
    if last is not None and last.state == "started":
        return Fault(
            f"{last.step}: killed before it could say why (out of memory?); finished steps are kept, so run again"
            f" (log: {folder.log})"
        )
    first_line = str(failure).partition("\n")[0]
    return Fault(f"the pipeline failed outside its steps: {first_line} (log: {folder.log})")


class _Heard:
    """Events so far, read by a thread of its own: a step may work for an hour without printing a line."""

    def __init__(self, path: Path, listen: Callable[[Event], None]) -> None:
        self._path = path
        self._listen = listen
        self._count = 0
        self._finished = threading.Event()
        self.last: Event | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hear until the body is done, and what was said last."""
        thread = threading.Thread(target=self._keep_hearing, name="events", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._finished.set()
            thread.join()

    def _keep_hearing(self) -> None:
        while not self._finished.wait(0.1):
            self._hear()
        self._hear()

    def _hear(self) -> None:
        for event in list(read_events(self._path))[self._count :]:
            self._count += 1
            self.last = event
            self._listen(event)


class _Sink(TextIOBase):
    """Takes what kfp prints, the steps' output line by line among it."""

    def __init__(self, log: TextIO, echo: TextIO | None) -> None:
        self._log = log
        self._echo = echo

    def write(self, text: str) -> int:
        self._log.write(text)
        if self._echo is not None:
            self._echo.write(text)
        return len(text)

    def flush(self) -> None:
        self._log.flush()
