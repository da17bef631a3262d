"""What a replay did, as figures and as tables. Pure."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from serving.traffic.tally import QUANTILES, ArmTally, Tally, expected_effects

HONESTY = (
    "Feedback is simulated: a position-based click model over the log's labels decides what users do. No person stands "
    "behind these outcomes."
)


@dataclass(frozen=True)
class Delivery:
    """What became of the outcome events."""

    accepted: int = 0
    refused: dict[str, int] | None = None
    """By the service's kind of refusal."""
    unacknowledged: int = 0
    retries: int = 0
    uncounted: dict[str, int] | None = None
    """Of tasks that are no metric of the experiment, by task."""


@dataclass(frozen=True)
class Circumstances:
    """What the figures are of."""

    log: str
    gateway: str
    arrivals: str
    seed: int
    plant: str
    elapsed_s: float
    left_out_rows: int
    stopped: bool


def summary_json(tally: Tally, delivery: Delivery | None, of: Circumstances) -> dict[str, Any]:
    """All figures; NaN is null."""
    return {
        "feedback": HONESTY,
        **asdict(of),
        "requests": {"sent": tally.sent, "shed": tally.shed, "answered": tally.answered, "errors": tally.errors},
        "behind_p99_ms": _finite(_behind_ms(tally)),
        "arms": {name: _arm_json(arm, tally.tasks) for name, arm in tally.arms.items()},
        "no_arm": dict(tally.nobody.answers),
        "outcomes": None if delivery is None else {"put": tally.put, **asdict(delivery)},
        "expected_effect": [
            {name: _finite(value) for name, value in asdict(effect).items()} for effect in expected_effects(tally)
        ],
    }


def summary_text(tally: Tally, delivery: Delivery | None, of: Circumstances) -> Group:
    """Tables for a terminal."""
    rate = tally.sent / of.elapsed_s if of.elapsed_s > 0 else 0.0
    head = (
        f"{tally.sent:,} requests in {of.elapsed_s:.1f} s ({rate:.1f}/s, {of.arrivals}), {tally.answered:,} answered, "
        f"{tally.errors:,} failed, {tally.shed:,} shed; seed {of.seed}, plant {of.plant}"
    )
    parts: list[Any] = [Text(head), _arms(tally), _effects(tally)]
    if tally.nobody.answers:
        parts.append(Text(f"without an arm: {_counted(dict(tally.nobody.answers))}"))
    if delivery is not None:
        refused = f", refused {_counted(delivery.refused)}" if delivery.refused else ""
        parts.append(
            Text(
                f"outcome events: {tally.put:,} put, {delivery.accepted:,} accepted{refused}, "
                f"{delivery.unacknowledged:,} not acknowledged, {delivery.retries:,} batches sent again"
            )
        )
    if delivery is not None and delivery.uncounted:
        parts.append(Text(f"no metric of this experiment, and not counted by it: {_counted(delivery.uncounted)}"))
    if of.left_out_rows:
        parts.append(Text(f"{of.left_out_rows:,} held-out rows are of users whom the log cannot name, and left out"))
    return Group(*parts, Text(HONESTY, style="dim"))


def _arms(tally: Tally) -> Table:
    table = Table(title="by arm")
    table.add_column("arm")
    heads = ("ok", "errors", *(f"p{q * 100:g} ms" for q in QUANTILES), "users")
    for head in heads:
        table.add_column(head, justify="right")
    for name, arm in tally.arms.items():
        errors = {kind: count for kind, count in arm.answers.items() if kind != "ok"}
        table.add_row(
            name,
            f"{arm.answers['ok']:,}",
            _counted(errors) if errors else "0",
            *("-" if math.isnan(value) else f"{value * 1000:.1f}" for value in arm.quantiles_s()),
            f"{len(arm.units):,}",
        )
    table.caption = (
        f"latency from the moment a request was due; the load itself was {_behind_ms(tally):.1f} ms late (p99)"
    )
    return table


def _effects(tally: Tally) -> Table:
    table = Table(title="outcomes: drawn, and expected (E) a request")
    table.add_column("task")
    for head in ("baseline", "candidate", "E baseline", "E candidate", "lift"):
        table.add_column(head, justify="right")
    arms = tally.arms["baseline"], tally.arms["candidate"]
    for place, effect in enumerate(expected_effects(tally)):
        lift = "-" if math.isnan(effect.lift) else f"{effect.lift:+.2%} ± {effect.error:.2%}"
        means = ("-" if math.isnan(mean) else f"{mean:.4f}" for mean in (effect.baseline, effect.candidate))
        table.add_row(effect.task, *(f"{int(arm.earned_T[place]):,}" for arm in arms), *means, lift)
    table.caption = "lift of what is expected, against a random order of the same lists; ± one standard error"
    return table


def _arm_json(arm: ArmTally, tasks: tuple[str, ...]) -> dict[str, Any]:
    return {
        "answers": dict(arm.answers),
        "latency_ms": {
            f"p{quantile * 100:g}": _finite(value * 1000)
            for quantile, value in zip(QUANTILES, arm.quantiles_s(), strict=True)
        },
        "users": len(arm.units),
        "earned": {task: int(count) for task, count in zip(tasks, arm.earned_T, strict=True)},
    }


def _behind_ms(tally: Tally) -> float:
    return float(np.quantile(np.frombuffer(tally.behind_s), 0.99)) * 1000 if tally.behind_s else 0.0


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _counted(counts: dict[str, int] | None) -> str:
    return ", ".join(f"{count:,} × {kind}" for kind, count in sorted((counts or {}).items()))
