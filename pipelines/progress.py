"""What `mgoe run` shows: a line a step, then the comparison and where everything lies."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from components.events import Event
from model.evaluation.comparison import MEAN, Comparison, Difference, Metric
from model.registry.gate import GateRefused

MARKS = {"made": "[green]✓[/]", "reused": "[cyan]✓[/]", "refused": "[yellow]![/]", "failed": "[red]✗[/]"}
NAME_WIDTH = 20


class Lines:
    """A context in which settled lines are printed; in a terminal, a spinner tells the rest."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(Text(), console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.update(Text())
        self._live.stop()

    def _spin(self, words: str) -> None:
        self._live.update(Group(Spinner("dots", text=f" {words}")))


class StepLines(Lines):
    """Prints a line when a step ends; the spinner names the one that is running."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._lock = threading.Lock()
        self.ended: dict[str, Event] = {}
        """The closing event of every step that has ended."""

    def show(self, event: Event) -> None:
        """Take in one event."""
        with self._lock:
            if event.state == "started":
                self._spin(event.step)
                return
            self.ended[event.step] = event
            self._live.update(Text())
            self._console.print(line_of(event))


def line_of(event: Event) -> Text:
    """One finished step: mark, name, time, and what it has to say."""
    refused = event.state == "failed" and event.exit_code == GateRefused.exit_code  # a verdict, not an error
    state = "refused" if refused else event.state
    told = f"{event.seconds:7.1f} s" if state == "made" else f"   {state}"
    note = "" if event.message is None or state == "failed" else f"  [dim]{escape(event.message)}[/]"
    return Text.from_markup(f"  {MARKS[state]} {event.step:<{NAME_WIDTH}}{told}{note}")


def comparison_table(comparison: Comparison) -> Table:
    """AUC and GAUC of both models per task and on average, with the paired difference and its interval."""
    baseline, candidate = comparison.baseline.name, comparison.candidate.name
    table = Table(
        title=f"{candidate} against {baseline} on {comparison.rows:,} test rows of {comparison.users:,} users",
        title_justify="left",
        title_style="bold",
        pad_edge=False,
    )
    table.add_column("metric")
    table.add_column("task")
    for column in (baseline, candidate, "difference", f"{comparison.level:.0%} interval"):
        table.add_column(column, justify="right")
    table.add_column("")
    metrics: tuple[Metric, ...] = ("auc", "gauc")
    for metric in metrics:
        for task in (*comparison.tasks, MEAN):
            table.add_row(*_cells(comparison.find(metric, task)), end_section=task == MEAN)
    return table


def _cells(entry: Difference) -> tuple[str, ...]:
    style = {"better": "green", "worse": "red"}.get(entry.outcome, "dim")
    interval = "-" if entry.lower is None or entry.upper is None else f"{entry.lower:+.4f} … {entry.upper:+.4f}"
    return (
        entry.metric.upper(),
        entry.task,
        _number(entry.baseline, ".4f"),
        _number(entry.candidate, ".4f"),
        f"[{style}]{_number(entry.difference, '+.4f')}[/]",
        interval,
        f"[{style}]{entry.outcome}[/]",
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
