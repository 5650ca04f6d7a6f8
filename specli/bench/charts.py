"""The charts of a bench as inline SVG without scripts, fonts or other files.

Drawn by matplotlib, whose SVG is small and complete. Colours become variables of the page's style
sheet, so that one drawing serves light and dark mode; texts stay text, in the page's font.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from specli.bench.report import Interval

# Placeholder colours, replaced by the variables of the page.
_INK, _FAINT, _GRID = "#010101", "#010102", "#010103"
_SERIES = ["#010111", "#010112", "#010113", "#010114", "#010115", "#010116"]
_VARIABLES = {_INK: "--ink", _FAINT: "--faint", _GRID: "--grid"} | {
    colour: f"--series-{number}" for number, colour in enumerate(_SERIES, 1)
}
_MARKERS = "osD^vP"
_ONE_BY_ONE = "target, one by one"
_DASHES = (0, (4, 3))
_WIDTH = 5.2
"""Inches, about the width on a phone, so that texts stay readable."""
# Any: matplotlib expects a dictionary with its own literals as keys.
_STYLE: Any = {
    # Names come from file names: a dollar sign is not a formula.
    "text.parse_math": False,
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


def speedup_chart(
    categories: Sequence[str], settings: Mapping[str, Sequence[Interval | None]]
) -> str:
    """Speed-up over plain decoding: categories from top to bottom, a mark for each setting.

    Each setting has as many intervals as there are categories, None where it has no run.
    """
    height = 0.9 + len(categories) * (0.16 + 0.17 * len(settings)) + 0.2 * _legend_rows(settings)
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(height)
        for index, (name, intervals) in enumerate(settings.items()):
            offset = (index - (len(settings) - 1) / 2) * 0.75 / max(len(settings), 1)
            rows = {row + offset: one for row, one in enumerate(intervals) if one is not None}
            _marks(axes, rows, index, name)
        axes.axvline(1, color=_FAINT, linewidth=1.2, linestyle=_DASHES, zorder=1)
        _rows(axes, categories)
        axes.set_xlabel("speed-up over plain decoding")
        _legend(figure, axes, settings)
        return _svg(figure, "speedup")


def acceptance_chart(settings: Mapping[str, Sequence[float]]) -> str:
    """Acceptance rate by position, between 0 and 1."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(3.0 + 0.2 * _legend_rows(settings))
        for index, (name, rates) in enumerate(settings.items()):
            positions = range(1, len(rates) + 1)
            _line(axes, positions, rates, index, name)
        axes.set_ylim(0, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))
        axes.set_xlabel("position in the draft")
        axes.set_ylabel("accepted")
        _legend(figure, axes, settings)
        return _svg(figure, "acceptance")


def cost_chart(target_ms: Mapping[int, float], draft_ms: Mapping[int, float]) -> str:
    """T(k): milliseconds for k tokens in one decode, of the target and a draft if there is one.

    A dashed line shows k tokens one by one.
    """
    series = {"target": target_ms, "draft model": draft_ms}
    shown = {name: points for name, points in series.items() if points}
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(3.4)
        for index, (name, points) in enumerate(shown.items()):
            _line(axes, list(points), list(points.values()), index, name)
        highest = max(max(points.values()) for points in shown.values())
        if 1 in target_ms:
            last = max(target_ms)
            ends = [target_ms[1], last * target_ms[1]]
            axes.plot(
                [1, last], ends, label=_ONE_BY_ONE, color=_FAINT, linewidth=1.2, linestyle=_DASHES
            )
        axes.set_ylim(0, 1.15 * highest)
        axes.set_xlim(left=0)
        axes.set_xlabel("tokens in one decode")
        axes.set_ylabel("milliseconds")
        _legend(figure, axes, [*shown, _ONE_BY_ONE])
        return _svg(figure, "cost")


def speed_chart(settings: Mapping[str, Interval]) -> str:
    """Tokens per second of every setting, including plain decoding."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(0.9 + 0.34 * len(settings))
        _marks(axes, dict(enumerate(settings.values())), 0, None)
        _rows(axes, list(settings))
        axes.set_xlim(left=0)
        axes.set_xlabel("tokens per second")
        return _svg(figure, "speed")


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def _look(index: int) -> tuple[str, str]:
    """Colour and marker of a series; both differ, for colour-blind readers."""
    return _SERIES[index % len(_SERIES)], _MARKERS[index % len(_MARKERS)]


def _line(
    axes: Axes, positions: Sequence[float], values: Sequence[float], index: int, name: str
) -> None:
    colour, marker = _look(index)
    axes.plot(positions, values, label=name, color=colour, marker=marker)


def _marks(axes: Axes, rows: Mapping[float, Interval], index: int, name: str | None) -> None:
    """Values at their rows, with a horizontal line for an interval."""
    colour, marker = _look(index)
    for row, one in rows.items():
        if one.low is not None and one.high is not None:
            axes.hlines(row, one.low, one.high, color=colour, linewidth=1.8)
    values = [one.value for one in rows.values()]
    axes.plot(values, list(rows), label=name, color=colour, marker=marker, linestyle="none")


def _rows(axes: Axes, names: Sequence[str]) -> None:
    """Names instead of a scale, the first at the top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _legend_rows(settings: Sequence[str] | Mapping[str, object]) -> int:
    return (len(settings) + 1) // 2


def _legend(figure: Figure, axes: Axes, settings: Sequence[str] | Mapping[str, object]) -> None:
    if len(settings) > 1:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)


def _svg(figure: Figure, name: str) -> str:
    """The drawing as an inline element with ids of its own and the page's colours."""
    written = io.StringIO()
    none = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(written, format="svg", transparent=True, metadata=none)
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # HTML needs no namespaces, and they look like addresses to load.
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"<style.*?</style>|font-family: [^;]+; ", "", text, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true">', text)
