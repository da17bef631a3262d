"""The same pipeline on one machine: kfp's SubprocessRunner runs the steps; what they tell is progress and errors."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import TextIOBase
from pathlib import Path
from typing import TextIO

from components.events import EVENTS_VARIABLE, Event, read_events
from components.shelf import SHELF_VARIABLE
from model.errors import Fault, MgoeError, UserError
from pipelines.compiling import compile_pipeline
from pipelines.form import Form
from pipelines.rendering import write_text

STEPS = (
    "ingest",
    "build-graph",
    "train baseline",
    "train candidate",
    "evaluate baseline",
    "evaluate candidate",
    "compare",
    "register",
)
"""In the order they run here: one after the other, since every step already uses all cores."""


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


@dataclass(frozen=True)
class Outcome:
    """What a finished run has to show."""

    events: Mapping[str, Event]
    """The closing event of every step."""
    seconds: float


def run_locally(
    folder: RunFolder,
    recipe_text: str,
    arguments: Mapping[str, str | int],
    listen: Callable[[Event], None],
    echo: TextIO | None = None,
) -> Outcome:
    """Compile the local form and run it, one subprocess a step.

    arguments: the pipeline's parameters. listen: called with every event of a step. echo: where the steps' own output
    goes besides the log file. Raises what a failing step said: UserError or Fault by its exit code.
    """
    started = time.monotonic()
    try:
        folder.artifacts.mkdir(parents=True, exist_ok=True)
        folder.events.write_text("")
    except OSError as error:
        raise Fault(f"cannot write to {folder.root}: {error.strerror}; name another folder with --out") from None
    write_text(compile_pipeline(Form(kind="local"), recipe_text), folder.pipeline)
    heard = _Heard(folder.events, listen)
    with folder.log.open("w", encoding="utf-8") as log, heard.listening():
        failure = _run_kfp(folder, arguments, _Sink(log, echo))
    if failure is not None:
        raise _explain(failure, heard.last, folder)
    return Outcome(dict(heard.by_step), time.monotonic() - started)


def _run_kfp(folder: RunFolder, arguments: Mapping[str, str | int], sink: _Sink) -> Exception | None:
    """Run the compiled file. kfp raises RuntimeError for a failing task and says no more."""
    with contextlib.redirect_stdout(sink), _environment(folder), warnings.catch_warnings():
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
def _environment(folder: RunFolder) -> Iterator[None]:
    """What the steps read from their environment; kfp hands ours on to them."""
    wanted = {
        EVENTS_VARIABLE: str(folder.events.absolute()),
        SHELF_VARIABLE: str(folder.artifacts.absolute()),
        "PYTHONWARNINGS": "ignore",
    }
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
        kind = UserError if last.exit_code == UserError.exit_code else Fault
        more = "" if last.exit_code == UserError.exit_code else f" (log: {folder.log})"
        return kind(f"{last.step}: {last.message}{more}")
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
        self.by_step: dict[str, Event] = {}
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
            self.by_step[event.step] = self.last = event
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
