"""What `mgoe run` shows of the rollout: a line a transition, and between them how far it is."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.text import Text

from pipelines.live_run import Listener, LiveEnd, LiveInputs
from pipelines.progress import NAME_WIDTH, Lines
from serving.rollout.state import Transition
from serving.rollout.status import MetricStatus, ModelRolloutStatus
from serving.stack.stack import View
from serving.traffic.summary import HONESTY

_MARKS = {"Succeeded": "[green]✓[/]", "RolledBack": "[yellow]![/]", "Failed": "[red]✗[/]"}


class LiveLines(Lines, Listener):
    """Prints what the stack and the rollout have done; the spinner tells how far they are."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self._console.print("\n[bold]live[/], before simulated users")
        return super().__enter__()

    def stack(self, seen: View) -> None:
        late = [one.service.name for one in seen.processes if one.condition != "ready"]
        self._spin(f"stack: not ready yet: {', '.join(late)}")

    def ready(self, seen: View) -> None:
        parts = ", ".join(one.service.name for one in seen.processes)
        self._line("[green]✓[/]", "stack", parts)
        console = seen.address("console")
        if console is not None:
            self._line(" ", "console", console)
        self._spin("rollout")

    def turned(self, line: Transition) -> None:
        self._line(_MARKS.get(line.target, "[green]✓[/]"), line.reason, line.message)

    def registered(self, *, moved: bool, said: str) -> None:
        self._line("[green]✓[/]" if moved else "[red]✗[/]", "registry", said)

    def looked(self, status: ModelRolloutStatus) -> None:
        units = status.evidence.baseline_units, status.evidence.candidate_units
        words = [
            f"{status.phase}, {status.weight} % to the candidate, {units[0]:,} + {units[1]:,} users at this weight"
        ]
        words += [effect(one) for one in status.metrics if one.role == "Primary"]
        self._spin("; ".join(words))

    def _line(self, mark: str, name: str, told: str) -> None:
        seconds = f"{time.monotonic() - self._began:7.1f} s"
        text = Text.from_markup(f"  {mark} {name:<{NAME_WIDTH}}")
        self._console.print(text.append(seconds).append(f"  {told}", style="dim"), soft_wrap=True)


def effect(metric: MetricStatus) -> str:
    """A metric's relative effect with its always-valid interval."""
    if metric.estimate is None:
        return f"{metric.name}: too few users yet"
    low, high = (f"{bound:+.1%}" if bound is not None else "open" for bound in (metric.low, metric.high))
    return f"{metric.name} {metric.estimate:+.1%} ({low} … {high})"


def closing(end: LiveEnd, inputs: LiveInputs, *, kept: bool) -> RenderableType:
    """How it ended, and where to read more."""
    verdict = {"Succeeded": "promoted", "RolledBack": "rolled back"}.get(end.phase, "ended without a decision")
    decided, since = end.status.evidence.words, ""
    promotion = end.status.promotion()
    if promotion is not None:  # the verdict that promoted, not that of a candidate without a baseline beside it
        decided, since = promotion.message, decided
    elif end.phase != "Succeeded":
        decided = end.status.message
    lines = [Text.from_markup(f"\n[bold]the candidate is {verdict}[/]: ").append(decided)]
    lines += [Text(f"  with what came in until the end: {since}", style="dim")] if since else []
    lines += [Text(f"  {effect(one)}") for one in end.status.metrics]
    lines += [Text(HONESTY, style="dim"), Text(f"\nexperiment {inputs.report}")]
    console = end.stack.address("console")
    if kept:
        lines += [Text(f"console    {console}")] if console is not None else []
        lines.append(
            Text(f"stack      still up; `mgoe status --state {inputs.state}`, `mgoe down --state {inputs.state}`")
        )
    return Group(*lines)
