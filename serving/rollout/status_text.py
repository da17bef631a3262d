"""A rollout's status for the terminal."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from serving.rollout.state import TERMINAL, Transition
from serving.rollout.status import ModelRolloutStatus
from serving.rollout.store import Stored

UNSEEN = (
    "no controller has looked at it yet: `mgoe up` or `mgoe rollout controller` runs one, in a cluster the operator"
)
UNATTENDED = "no controller runs: weights stand as they are and no wish is carried out until `mgoe up` starts one"
OLD_S = 120.0
"""The numbers of a rollout under way are written every half minute at least."""


def status_of(read: Stored) -> ModelRolloutStatus:
    """The status as it was stored."""
    return ModelRolloutStatus.model_validate(read.status or {})


def overview(rollouts: tuple[Stored, ...]) -> Table:
    """One line a rollout. Its router has the weight of whichever rollout owns it."""
    table = Table("rollout", "phase", "weight", "router", "verdict", "last transition", box=None)
    for read in rollouts:
        status = status_of(read)
        table.add_row(
            read.key.name,
            status.phase,
            f"{status.weight} %",
            _percent(status.observed_weight),
            status.evidence.verdict,
            status.reason,
        )
    return table


def age_words(status: ModelRolloutStatus, now: float) -> str | None:
    """How old the numbers are, with a warning where nobody seems to renew them; None: there are none."""
    if status.evidence.as_of is None:
        return None
    seconds = max(0.0, now - status.evidence.as_of)
    old = seconds > OLD_S and status.phase not in TERMINAL
    return f"{span(seconds)} old{': nobody has renewed them; does a controller look?' if old else ''}"


def span(seconds: float) -> str:
    """A span in seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.0f} hours"


def detail(read: Stored, now: float, *, attended: bool | None = None) -> RenderableType:
    """Everything that a person who watches wants to know. attended: whether a controller runs; None: not known."""
    status = status_of(read)
    facts = Table.grid(padding=(0, 2))
    facts.add_row("rollout", read.key.name)
    if attended is False:
        facts.add_row("unattended", UNATTENDED)
    facts.add_row("run", status.run.id if status.run else "none yet")
    facts.add_row("phase", f"{status.phase} ({status.reason})")
    facts.add_row("why", escape(status.message) if read.status else UNSEEN)
    ready = status.condition("Ready")
    if ready is not None and ready.reason == "Superseded":
        facts.add_row("superseded", escape(ready.message))
    facts.add_row("weight", f"{status.weight} % wanted, {_percent(status.observed_weight)} at the router")
    facts.add_row("ready", f"baseline {_known(status.baseline.ready)}, candidate {_known(status.candidate.ready)}")
    promotion = status.promotion()
    if promotion is not None:
        facts.add_row("promoted on", escape(promotion.message))
    facts.add_row("verdict" if promotion is None else "since then", escape(_verdict(status)))
    age = age_words(status, now)
    if age is not None:
        facts.add_row("numbers", age)
    progressing = status.condition("Progressing")
    if progressing is not None and progressing.status == "False" and status.phase not in TERMINAL:
        facts.add_row("held by", escape(progressing.message))
    if status.alarm is not None:
        state = "acknowledged" if status.alarm.acknowledged else "open: `mgoe rollout ack`"
        facts.add_row("alarm", f"sample ratio p = {status.alarm.p_value:.2g}, {state}")
    for ignored in status.steering.ignored:
        facts.add_row("ignored", escape(ignored))
    parts: list[RenderableType] = [facts]
    if status.metrics:
        parts += [Text(), _metrics(status)]
    if status.guardrails:
        parts += [Text(), _guardrails(status)]
    return Group(*parts)


def _verdict(status: ModelRolloutStatus) -> str:
    """Words of an evidence that could be read begin with the verdict themselves."""
    evidence = status.evidence
    return evidence.words if evidence.words.startswith(evidence.verdict) else f"{evidence.verdict}. {evidence.words}"


def history(transitions: tuple[Transition, ...]) -> Table:
    """The transitions, oldest first."""
    table = Table("time (UTC)", "from", "to", "weight", "reason", "numbers", box=None)
    for line in transitions:
        at = datetime.fromtimestamp(line.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(at, line.origin, line.target, f"{line.weight} %", line.reason, escape(line.message))
    return table


def _metrics(status: ModelRolloutStatus) -> Table:
    table = Table("metric", "role", "effect", "always-valid interval", "units", "", box=None)
    for metric in status.metrics:
        table.add_row(
            metric.name,
            metric.role,
            _share(metric.estimate),
            f"{_share(metric.low)} … {_share(metric.high)}",
            f"{metric.baseline_units:,} / {metric.candidate_units:,}",
            metric.problem or "",
        )
    return table


def _guardrails(status: ModelRolloutStatus) -> Table:
    table = Table("guardrail", "state", "value", "requests", "", box=None)
    for guardrail in status.guardrails:
        value = "unknown" if guardrail.value is None else f"{guardrail.value:.4g}"
        table.add_row(guardrail.name, guardrail.state, value, _known(guardrail.samples), guardrail.message or "")
    return table


def _share(value: float | None) -> str:
    return "open" if value is None else f"{value:+.2%}"


def _percent(value: int | None) -> str:
    return "unknown" if value is None else f"{value} %"


def _known(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"
