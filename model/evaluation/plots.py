"""The plots of a report. Each returns inline SVG; the numbers stand in a table beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from model.evaluation.gate_weights import GateWeights
from model.evaluation.svg import COLOURS, canvas
from model.metrics.calibration import Reliability
from model.training.curve import TrainingReport


@dataclass(frozen=True)
class Curve:
    """One model's line. name: in the legend. tone: `baseline` or `candidate`, the colour's name."""

    name: str
    tone: str
    report: TrainingReport


@dataclass(frozen=True)
class Span:
    """One line of a forest plot: a value with its interval."""

    name: str
    value: float
    lower: float
    upper: float


def learning_curve(name: str, curves: Sequence[Curve], quantity: str, title: str) -> Markup:
    """quantity: `mean_auc`, `train_loss` or a task's name. The kept weights are marked."""
    alt = f"Line chart of {title.lower()} by epoch for {' and '.join(curve.name for curve in curves)}; numbers below."
    with canvas(name, alt) as drawn:
        for curve in curves:
            epochs = [point.epoch for point in curve.report.curve]
            values = [_value(point, quantity) for point in curve.report.curve]
            colour = COLOURS[curve.tone]
            drawn.axes.plot(epochs, values, color=colour, label=curve.name, marker="o", markersize=2.5)
            best = next(i for i, point in enumerate(curve.report.curve) if point.step == curve.report.best_step)
            drawn.axes.plot(epochs[best], values[best], "o", markersize=8, markerfacecolor="none", color=colour)
        drawn.axes.set(title=title, xlabel="epoch (ring: weights kept)")
        drawn.axes.xaxis.set_major_locator(MaxNLocator(6))
        drawn.axes.legend(loc="best")
    return drawn.svg


def _value(point: object, quantity: str) -> float:
    own = getattr(point, quantity, None) if quantity in ("mean_auc", "train_loss") else point.auc.get(quantity)  # type: ignore[attr-defined]
    return float("nan") if own is None else float(own)


def calibration_plot(name: str, task: str, models: Mapping[str, tuple[str, Reliability]]) -> Markup:
    """models: by legend name, the tone and the bins. On the diagonal, predictions come true as often as they say."""
    top = 1.06 * max(max(bins.predicted.max(), bins.observed.max()) for _, bins in models.values())
    alt = f"Calibration of {task}: observed rate by predicted probability, {' and '.join(models)}; numbers below."
    with canvas(name, alt, height=3.4) as drawn:
        drawn.axes.plot([0, top], [0, top], color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)))
        for label, (tone, bins) in models.items():
            drawn.axes.plot(
                bins.predicted, bins.observed, color=COLOURS[tone], label=label, marker="o", markersize=4, linewidth=1.2
            )
        drawn.axes.set(title=task, xlabel="predicted probability", ylabel="observed rate", xlim=(0, top), ylim=(0, top))
        drawn.axes.xaxis.set_major_locator(MaxNLocator(5))
        drawn.axes.yaxis.set_major_locator(MaxNLocator(5))
        drawn.axes.legend(loc="upper left")
    return drawn.svg


def forest(name: str, title: str, unit: str, spans: Sequence[Span], zero: bool = True) -> Markup:
    """Values with intervals, one line each, top to bottom. zero: draw the line of no difference."""
    alt = f"Forest plot of {title}: {len(spans)} values with intervals; numbers in the table beside it."
    with canvas(name, alt, height=1.0 + 0.27 * len(spans)) as drawn:
        axes = drawn.axes
        if zero:
            axes.axvline(0, color=COLOURS["ink"], linewidth=1)
        for place, span in enumerate(spans):
            clear = not zero or not span.lower <= 0 <= span.upper
            colour = COLOURS["candidate"] if clear else COLOURS["muted"]
            axes.plot([span.lower, span.upper], [place, place], color=colour, linewidth=2.4, solid_capstyle="round")
            axes.plot(
                span.value,
                place,
                "o",
                color=colour,
                markersize=6,
                markerfacecolor=colour if clear else COLOURS["panel"],
            )
        axes.set_yticks(range(len(spans)), [span.name for span in spans])
        axes.set_ylim(len(spans) - 0.4, -0.6)
        axes.set(title=title, xlabel=unit)
        axes.tick_params(axis="y", length=0, labelcolor=COLOURS["ink"])
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    return drawn.svg


def group_sizes(name: str, side: str, sizes: Sequence[int]) -> Markup:
    """Bars of the macro nodes, largest first; `sizes` holds group 0 (cold nodes) first."""
    ordered = sorted(sizes[1:], reverse=True)
    alt = f"Bars of {len(ordered)} {side} groups from largest to smallest; {sizes[0]} {side}s are cold; numbers below."
    with canvas(name, alt, height=2.4) as drawn:
        drawn.axes.bar(range(1, len(ordered) + 1), ordered, color=COLOURS["candidate"], width=0.85)
        drawn.axes.set(title=f"{side.capitalize()} groups", xlabel="macro node, largest first", ylabel=f"{side}s")
        drawn.axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        drawn.axes.grid(visible=False, axis="x")
    return drawn.svg


def gate_map(name: str, title: str, gates: GateWeights) -> Markup:
    """Mean gate weights as a shaded table: one row a gate, one column an expert."""
    rows, columns = len(gates.gates), len(gates.experts)
    strongest = max(max(row) for row in gates.mean)
    alt = f"Shaded table of gate weights of {title}: {rows} gates by {columns} experts; numbers below."
    with canvas(name, alt, height=1.1 + 0.42 * rows) as drawn:
        for y, row in enumerate(gates.mean):
            for x, weight in enumerate(row):
                _cell(drawn.axes, x, y, weight, strongest)
        drawn.axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5), title=title)
        drawn.axes.set_xticks(range(columns), gates.experts, rotation=20 if columns > 3 else 0, ha="center")
        drawn.axes.set_yticks(range(rows), gates.gates)
        drawn.axes.tick_params(length=0, labelcolor=COLOURS["ink"])
        drawn.axes.grid(visible=False)
        for spine in drawn.axes.spines.values():
            spine.set_visible(False)
    return drawn.svg


def _cell(axes: Axes, x: int, y: int, weight: float, strongest: float) -> None:
    shade = 0.06 + 0.6 * weight / max(strongest, 1e-9)
    axes.add_patch(Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, color=COLOURS["candidate"], alpha=shade, linewidth=0))
    axes.text(x, y, f"{weight:.2f}", ha="center", va="center", fontsize=10, color=COLOURS["ink"])


def spread(sizes: Sequence[int]) -> dict[str, int]:
    """What a table says of group sizes: groups, empty ones, smallest, median, largest, cold nodes."""
    groups = np.array(sizes[1:] or [0])
    return {
        "groups": len(groups),
        "empty": int((groups == 0).sum()),
        "smallest": int(groups.min()),
        "median": int(np.median(groups)),
        "largest": int(groups.max()),
        "cold nodes": int(sizes[0]),
    }
