"""What a person sees while a model trains: a live bar in a terminal, one line an evaluation elsewhere."""

from __future__ import annotations

from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model.training.curve import Evaluation


class Watcher(Protocol):
    """Takes what happens in a run. `wants_loss` tells whether the loss of the next step is worth fetching."""

    def begin(self, title: str, steps: int, done: int) -> None: ...

    def wants_loss(self, step: int) -> bool: ...

    def stepped(self, step: int, loss: float | None, rows_per_second: float) -> None: ...

    def evaluated(self, evaluation: Evaluation) -> None: ...

    def say(self, line: str) -> None: ...

    def end(self) -> None: ...


class Silent:
    """Shows nothing but warnings' absence: for tests and for workers other than the first."""

    def begin(self, title: str, steps: int, done: int) -> None: ...

    def wants_loss(self, step: int) -> bool:
        return False

    def stepped(self, step: int, loss: float | None, rows_per_second: float) -> None: ...

    def evaluated(self, evaluation: Evaluation) -> None: ...

    def say(self, line: str) -> None: ...

    def end(self) -> None: ...


class Lines(Silent):
    """One line an evaluation, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._title = ""

    def begin(self, title: str, steps: int, done: int) -> None:
        self._title = title

    def evaluated(self, evaluation: Evaluation) -> None:
        self.say(f"{self._title}: {_words(evaluation)}")

    def say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, highlight=False)


class Bar:
    """A bar with the loss, rows a second and the last validation AUC."""

    _every = 10
    """Steps between refreshes: fetching the loss from a GPU stalls it."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
            TextColumn("{task.fields[speed]}"),
            TextColumn("[green]{task.fields[score]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task("", total=None, loss="", speed="", score="", visible=False)

    def begin(self, title: str, steps: int, done: int) -> None:
        self._progress.update(self._task, description=title, total=steps, completed=done, visible=True)
        self._progress.start()

    def wants_loss(self, step: int) -> bool:
        return step % self._every == 0

    def stepped(self, step: int, loss: float | None, rows_per_second: float) -> None:
        if loss is not None:
            speed = f"{rows_per_second:,.0f} rows/s"
            self._progress.update(self._task, completed=step, loss=f"loss {loss:.4f}", speed=speed)

    def evaluated(self, evaluation: Evaluation) -> None:
        score = "-" if evaluation.mean_auc is None else f"{evaluation.mean_auc:.4f}"
        self._progress.update(self._task, completed=evaluation.step, score=f"validation AUC {score}")

    def say(self, line: str) -> None:
        self._progress.console.print(line, soft_wrap=True, highlight=False)

    def end(self) -> None:
        self._progress.stop()


def watcher_for(console: Console) -> Watcher:
    """A bar in a terminal, lines elsewhere."""
    return Bar(console) if console.is_terminal else Lines(console)


def _words(point: Evaluation) -> str:
    tasks = ", ".join(f"{task} {'-' if value is None else f'{value:.4f}'}" for task, value in point.auc.items())
    mean = "-" if point.mean_auc is None else f"{point.mean_auc:.4f}"
    return (
        f"epoch {point.epoch:.2f}, loss {point.train_loss:.4f}, validation AUC {mean} ({tasks}), "
        f"{point.rows_per_second:,.0f} rows/s"
    )
