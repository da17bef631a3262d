"""Matplotlib figures as inline SVG that follows the page: its colours (light and dark), its font, its width."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Drawn in these colours, written out as the page's CSS variables of the same name.
COLOURS = {
    "ink": "#010203",
    "muted": "#040506",
    "grid": "#070809",
    "baseline": "#0a0b0c",
    "candidate": "#0d0e0f",
    "panel": "#101112",
}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mgoe",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": COLOURS["muted"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.titlecolor": COLOURS["ink"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.8,
    "figure.facecolor": "none",
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


class Canvas:
    """One figure of one pair of axes; `svg` is there after the with block."""

    def __init__(self, figure: Figure, axes: Axes) -> None:
        self.figure = figure
        self.axes = axes
        self.svg = Markup("")


@contextmanager
def canvas(name: str, alt: str, width: float = 4.2, height: float = 2.9) -> Iterator[Canvas]:
    """Axes to draw on, `width` by `height` inches. name: unique on the page. alt: what the plot shows, in words."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        drawn = Canvas(figure, figure.add_subplot())
        yield drawn
        drawn.svg = _inline(figure, name, alt)


def _inline(figure: Figure, name: str, alt: str) -> Markup:
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True)
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    for variable, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{variable})")
    return Markup(re.sub(r"<svg [^>]*?viewBox", f'<svg role="img" aria-label="{escape(alt)}" viewBox', text, count=1))  # noqa: S704  # drawn here; names in it are escaped by matplotlib
