"""The charts of a bench as SVG that stands inside a page: no script, no font, no file beside it.

matplotlib draws them, because its SVG is small and complete. Colours are written as variables of
the page's style sheet, so that one drawing serves light and dark; texts stay text, in the font
of the page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

# Colours that nobody would choose stand for the variables that replace them.
_INK, _FAINT, _GRID = "#010101", "#010102", "#010103"
_SERIES = ["#010111", "#010112", "#010113", "#010114", "#010115", "#010116"]
_VARIABLES = {_INK: "--ink", _FAINT: "--faint", _GRID: "--grid"} | {
    colour: f"--series-{number}" for number, colour in enumerate(_SERIES, 1)
}
_MARKERS = "osD^vP"
_WIDTH = 5.2
"""Inches: on a phone the drawing is shown about as large, so its texts stay readable."""
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "specli",
    "font.size": 11,
    "text.color": _INK,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.unicode_minus": False,
    "grid.color": _GRID,
    "xtick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.color": _FAINT,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "lines.linewidth": 2,
    "lines.markersize": 5,
}


@dataclass(frozen=True, slots=True)
class Interval:
    """A value, and how far it may be off or was seen to vary."""

    value: float
    low: float
    high: float


def speedup_chart(categories: Sequence[str], settings: Mapping[str, Sequence[Interval]]) -> str:
    """Speed-up over plain decoding: categories from top to bottom, a mark for each setting.

    Each setting has as many intervals as there are categories.
    """
    height = 0.9 + len(categories) * (0.16 + 0.17 * len(settings)) + 0.2 * _legend_rows(settings)
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(height)
        for index, (name, intervals) in enumerate(settings.items()):
            offset = (index - (len(settings) - 1) / 2) * 0.75 / max(len(settings), 1)
            rows = [row + offset for row in range(len(categories))]
            _marks(axes, rows, intervals, index, name)
        axes.axvline(1, color=_FAINT, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        axes.set_yticks(range(len(categories)), categories)
        axes.set_ylim(len(categories) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("times as fast as plain decoding")
        _legend(figure, axes, settings)
        return _svg(figure, "speedup")


def acceptance_chart(settings: Mapping[str, Sequence[float]]) -> str:
    """The share of proposals whose token at a position was accepted; rates between 0 and 1."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(3.0 + 0.2 * _legend_rows(settings))
        for index, (name, rates) in enumerate(settings.items()):
            positions = range(1, len(rates) + 1)
            axes.plot(positions, rates, label=name, **_look(index))
        axes.set_ylim(0, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))
        axes.set_xlabel("position in the draft")
        axes.set_ylabel("accepted")
        _legend(figure, axes, settings)
        return _svg(figure, "acceptance")


def cost_chart(target_ms: Mapping[int, float], draft_ms: Mapping[int, float]) -> str:
    """T(k): milliseconds for k tokens at once, of the target and, where there is one, the draft.

    A dashed line shows k tokens one after the other.
    """
    series = {"target": target_ms, "draft model": draft_ms}
    shown = {name: points for name, points in series.items() if points}
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(3.4)
        for index, (name, points) in enumerate(shown.items()):
            axes.plot(list(points), list(points.values()), label=name, **_look(index))
        highest = max(max(points.values()) for points in shown.values())
        if 1 in target_ms:
            last = max(target_ms)
            line = {"color": _FAINT, "linewidth": 1.2, "linestyle": (0, (4, 3))}
            label = "target, one after the other"
            axes.plot([1, last], [target_ms[1], last * target_ms[1]], label=label, **line)
        axes.set_ylim(0, 1.15 * highest)
        axes.set_xlim(left=0)
        axes.set_xlabel("tokens decoded at once")
        axes.set_ylabel("milliseconds")
        _legend(figure, axes, [*shown, "one after the other"])
        return _svg(figure, "cost")


def speed_chart(settings: Mapping[str, Interval]) -> str:
    """Tokens per second of every setting, plain decoding among them."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(0.9 + 0.34 * len(settings))
        for row, interval in enumerate(settings.values()):
            _marks(axes, [row], [interval], 0, None)
        axes.set_yticks(range(len(settings)), list(settings))
        axes.set_ylim(len(settings) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("tokens per second")
        return _svg(figure, "speed")


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def _look(index: int) -> dict[str, str]:
    """Colour and marker of a series: both differ, for eyes that tell colours badly."""
    return {
        "color": _SERIES[index % len(_SERIES)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "linestyle": "-" if index < len(_SERIES) else "--",
    }


def _marks(
    axes: Axes, rows: Sequence[float], intervals: Sequence[Interval], index: int, name: str | None
) -> None:
    """Values with their intervals as horizontal lines."""
    colour, marker = _look(index)["color"], _look(index)["marker"]
    lows, highs = [one.low for one in intervals], [one.high for one in intervals]
    axes.hlines(rows, lows, highs, color=colour, linewidth=1.8)
    values = [one.value for one in intervals]
    axes.plot(values, rows, linestyle="none", color=colour, marker=marker, label=name)


def _legend_rows(settings: Sequence[str] | Mapping[str, object]) -> int:
    return (len(settings) + 1) // 2


def _legend(figure: Figure, axes: Axes, settings: Sequence[str] | Mapping[str, object]) -> None:
    if len(settings) > 1:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)


def _svg(figure: Figure, name: str) -> str:
    """The drawing as an element of a page, its ids its own and its colours those of the page."""
    written = io.StringIO()
    none = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(written, format="svg", transparent=True, metadata=none)
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # A page knows these names by itself; as addresses they only look like something to load.
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font-size: \1", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true">', text)
