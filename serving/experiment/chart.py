"""Charts of the report as inline SVG that follow the page's colours; drawn by hand, no plotting package is needed.

Lengths are in the units of the view box. Text in the charts is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

WIDTH, HEIGHT = 520.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 14.0, 26.0, 30.0
EDGE = 14.0
"""Left edge of a chart without an axis of numbers."""


@dataclass(frozen=True)
class Scale:
    """Maps numbers to lengths."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


@dataclass(frozen=True)
class Band:
    """One look of a sequence: a line with an interval around it; infinite ends reach the chart's edge."""

    x: float
    middle: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Mark:
    """A horizontal line with a name."""

    y: float
    name: str
    tone: str = "muted"


@dataclass(frozen=True)
class Chart:
    """What is common to the charts over time. phases: (x where one begins, its label)."""

    name: str
    alt: str
    x_label: str
    phases: Sequence[tuple[float, str]] = field(default_factory=tuple)
    span: tuple[float, float] | None = None
    """Ends of the x axis, the same for charts that are read together; without, those of the values."""
    x_ticks: Sequence[tuple[float, str]] = field(default_factory=tuple)
    """(x, its label), in place of round numbers."""
    notes: Sequence[tuple[float, str]] = field(default_factory=tuple)
    """(x, what was so from there on): shown by a browser where the pointer rests."""


@dataclass(frozen=True)
class Line:
    """Values over time; a None is a gap. tone: its class. stepped: a value holds until the next one."""

    tone: str
    points: Sequence[tuple[float, float | None]]
    stepped: bool = False

    @property
    def values(self) -> list[float]:
        """Those that are there."""
        return [y for _, y in self.points if y is not None]


def sequence_chart(
    chart: Chart, bands: Sequence[Band], dashed: Sequence[tuple[float, float]], marks: Sequence[Mark]
) -> Markup:
    """A confidence sequence over time as a band, another estimate (x, y) dashed, and lines; y in percent."""
    low, high = _range(bands, [y for _, y in dashed[-1:]] + [mark.y for mark in marks])
    days = [band.x for band in bands]
    x = _x_scale(chart, days)
    y = Scale(low, high, HEIGHT - BOTTOM, TOP)

    def place(day: float, value: float) -> tuple[float, float]:
        return x(day), y(min(max(value, low), high))

    around = [place(one.x, one.upper) for one in bands] + [place(one.x, one.lower) for one in reversed(bands)]
    dot_x, dot_y = place(days[-1], bands[-1].middle)
    parts = [
        *_frame(chart, x, y, _x_ticks(chart, days), [(tick, _percent(tick, high - low)) for tick in ticks(low, high)]),
        _band(around),
        *(_mark_line(mark, y) for mark in marks if low <= mark.y <= high),
        _line([place(day, value) for day, value in dashed], "pooled"),
        _line([place(band.x, band.middle) for band in bands], "estimate"),
        f'<circle cx="{dot_x:.1f}" cy="{dot_y:.1f}" r="3.5" class="dot"/>',
        *(_mark_name(mark, y) for mark in marks if low <= mark.y <= high),
        *_notes(chart, x),
    ]
    return _svg(chart, parts)


def level_chart(chart: Chart, lines: Sequence[Line], high: float, unit: str, marks: Sequence[Mark] = ()) -> Markup:
    """Levels from 0 to `high` over time. unit: behind the numbers of the y axis."""
    moments = [x for line in lines for x, _ in line.points]
    x, y = _x_scale(chart, moments), Scale(0.0, high, HEIGHT - BOTTOM, TOP)
    y_ticks = [(tick, f"{tick:g} {unit}") for tick in ticks(0.0, high)]
    parts = [
        *_frame(chart, x, y, _x_ticks(chart, moments), y_ticks),
        *(_mark(mark, y) for mark in marks if 0 <= mark.y <= high),
        *(_placed(run, line, x, y) for line in lines for run in runs(line)),
        *_notes(chart, x),
    ]
    return _svg(chart, parts)


def _placed(run: Sequence[tuple[float, float]], line: Line, x: Scale, y: Scale) -> str:
    return _line([(x(at), y(min(value, y.high))) for at, value in run], line.tone)


def runs(line: Line) -> list[list[tuple[float, float]]]:
    """The line's unbroken parts; where it is stepped, with the corners."""
    found: list[list[tuple[float, float]]] = [[]]
    for x, y in line.points:
        run = found[-1]
        if line.stepped and run:
            run.append((x, run[-1][1]))
        if y is None:
            found.append([])
        else:
            run.append((x, y))
    return [run for run in found if run]


def probability_chart(chart: Chart, points: Sequence[tuple[float, float]], alarm: float) -> Markup:
    """p-values over time on a logarithmic scale, with the alarm's line."""
    floor = min(alarm / 10, max(min(value for _, value in points), 1e-12))
    low = math.floor(math.log10(floor))
    days = [one for one, _ in points]
    x = _x_scale(chart, days)
    y = Scale(low, 0.0, HEIGHT - BOTTOM, TOP)
    step = max(1, -low // 6)
    powers = [(float(power), "1" if power == 0 else f"1e{power}") for power in range(0, low - 1, -step)]
    drawn = [(x(one), y(math.log10(max(value, 10.0**low)))) for one, value in points]
    parts = [
        *_frame(chart, x, y, _x_ticks(chart, days), powers),
        _mark(Mark(math.log10(alarm), "alarm", "worse"), y),
        _line(drawn, "estimate"),
        f'<circle cx="{drawn[-1][0]:.1f}" cy="{drawn[-1][1]:.1f}" r="3.5" class="dot"/>',
        *_notes(chart, x),
    ]
    return _svg(chart, parts)


@dataclass(frozen=True)
class Whisker:
    """One line of a forest plot."""

    label: str
    middle: float
    lower: float
    upper: float
    tone: str


def forest_chart(chart: Chart, whiskers: Sequence[Whisker], marks: Sequence[Mark]) -> Markup:
    """Intervals under each other, in percent."""
    ends = [end for one in whiskers for end in (one.lower, one.upper, one.middle) if math.isfinite(end)]
    low, high = _padded([*ends, *(mark.y for mark in marks)])
    height = TOP + 46 * len(whiskers) + BOTTOM
    x = Scale(low, high, EDGE, WIDTH - RIGHT)
    parts = []
    for tick in ticks(low, high):
        parts.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" y2="{height - BOTTOM}" class="grid"/>')
        words = _percent(tick, high - low)
        parts.append(
            f'<text x="{x(tick):.1f}" y="{height - BOTTOM + 16}" class="tick" text-anchor="middle">{words}</text>'
        )
    for mark in marks:
        place = f'x1="{x(mark.y):.1f}" x2="{x(mark.y):.1f}" y1="{TOP - 4}" y2="{height - BOTTOM}"'
        parts.append(f'<line {place} class="mark {mark.tone}"/>')
    for number, one in enumerate(whiskers):
        at = TOP + 46 * number + 30
        left, right = x(max(one.lower, low)), x(min(one.upper, high))
        parts.append(f'<text x="{EDGE}" y="{at - 14}" class="label">{escape(one.label)}</text>')
        parts.append(f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{at}" y2="{at}" class="whisker {one.tone}"/>')
        parts.append(f'<circle cx="{x(one.middle):.1f}" cy="{at}" r="4" class="dot {one.tone}"/>')
    return _svg(chart, parts, height)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers inside [low, high], about `wanted` of them, in steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if rough <= factor * power * 1.0000001)
    first = math.ceil(low / step - 1e-9)
    return [step * place for place in range(first, math.floor(high / step + 1e-9) + 1)]


def _range(bands: Sequence[Band], others: Sequence[float]) -> tuple[float, float]:
    """Around the last look: at most three times as far as its interval reaches, or the early looks hide the late."""
    last = bands[-1]
    finite = [end for end in (last.lower, last.upper) if math.isfinite(end)]
    reach = 3 * max((abs(end - last.middle) for end in finite), default=0.1) or 0.01
    values = [
        min(max(end, last.middle - reach), last.middle + reach) for band in bands for end in (band.lower, band.upper)
    ]
    return _padded([*values, *others])


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = 0.06 * (high - low) or 0.01
    return low - pad, high + pad


def _x_scale(chart: Chart, values: Sequence[float]) -> Scale:
    """From the first look to the last; a single one stands in the middle."""
    low, high = chart.span or (min(values), max(values))
    around = 0.0 if high > low else 1.0
    return Scale(low - around, high + around, LEFT, WIDTH - RIGHT)


def _x_ticks(chart: Chart, values: Sequence[float]) -> Sequence[tuple[float, str]]:
    if chart.x_ticks:
        return chart.x_ticks
    low, high = chart.span or (min(values), max(values))
    return [(tick, f"{tick:g}") for tick in (ticks(low, high, 7) if high > low else [low])]


def _percent(tick: float, spread: float) -> str:
    """A tick in percent, with the digits that a chart of that spread needs; 0 has no sign."""
    digits = max(0, 1 - math.floor(math.log10(100 * spread)))
    return f"{100 * tick:+.{digits}f} %" if abs(tick) > 1e-9 * spread else "0 %"


def _frame(
    chart: Chart, x: Scale, y: Scale, x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[tuple[float, str]]
) -> list[str]:
    parts = []
    for value, label in y_ticks:
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 3.5:.1f}" class="tick" text-anchor="end">{label}</text>')
    below = f'y="{HEIGHT - BOTTOM + 14}" class="tick" text-anchor="middle"'
    parts += [f'<text x="{x(value):.1f}" {below}>{escape(label)}</text>' for value, label in x_ticks]
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 3}" class="tick" text-anchor="middle">{escape(chart.x_label)}</text>'
    )
    for start, label in chart.phases:
        place = x(max(start, x.low))
        parts.append(f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{TOP - 6}" y2="{HEIGHT - BOTTOM}" class="phase"/>')
        parts.append(f'<text x="{place + 3:.1f}" y="{TOP - 9}" class="tick">{escape(label)}</text>')
    return parts


def _notes(chart: Chart, x: Scale) -> list[str]:
    """Strips over the whole height, each from its note to the next."""
    starts = [max(x(min(max(at, x.low), x.high)), LEFT) for at, _ in chart.notes]
    ends = [*starts[1:], WIDTH - RIGHT][: len(starts)]
    return [
        f'<rect x="{start:.1f}" y="{TOP}" width="{max(end - start, 0.0):.1f}" height="{HEIGHT - BOTTOM - TOP}" '
        f'class="hit"><title>{escape(words)}</title></rect>'
        for (_, words), start, end in zip(chart.notes, starts, ends, strict=True)
    ]


def _mark(mark: Mark, y: Scale) -> str:
    return _mark_line(mark, y) + _mark_name(mark, y)


def _mark_line(mark: Mark, y: Scale) -> str:
    at = y(mark.y)
    return f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" class="mark {mark.tone}"/>'


def _mark_name(mark: Mark, y: Scale) -> str:
    at = y(mark.y)
    below, left = mark.tone == "worse", mark.tone in {"worse", "better"}  # such lines lie close to "no effect"
    place = f'x="{LEFT + 4 if left else WIDTH - RIGHT}" y="{at + (12 if below else -4):.1f}"'
    anchor = "start" if left else "end"
    return f'<text {place} text-anchor="{anchor}" class="tick name {mark.tone}">{escape(mark.name)}</text>'


def _line(points: Sequence[tuple[float, float]], tone: str) -> str:
    joined = " ".join(f"{one:.1f},{other:.1f}" for one, other in points)
    return f'<polyline points="{joined}" class="{tone}"/>'


def _band(around: Sequence[tuple[float, float]]) -> str:
    """The area inside; of a single look the interval as a line, for it has no area."""
    if len(around) == 2:
        (x, upper), (_, lower) = around
        return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{upper:.1f}" y2="{lower:.1f}" class="whisker"/>'
    joined = " ".join(f"{one:.1f},{other:.1f}" for one, other in around)
    return f'<polygon points="{joined}" class="band"/>'


def _svg(chart: Chart, parts: Sequence[str], height: float = HEIGHT) -> Markup:
    head = f'<svg role="img" aria-label="{escape(chart.alt)}" viewBox="0 0 {WIDTH:g} {height:g}">'
    return Markup(head + "".join(parts) + "</svg>")  # noqa: S704  # drawn here, its words escaped
