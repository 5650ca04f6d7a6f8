"""The charts of a bench as inline SVG without scripts, fonts or other files.

Colours become variables of the page's style sheet, so that one drawing serves light and dark mode;
texts stay text, in the page's font.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from specli.bench.report import Interval

_STYLE = Path(__file__).with_name("charts.mplstyle")
_FAINT = "#010102"
_VARIABLES = {"#010101": "--ink", _FAINT: "--faint", "#010103": "--grid"} | {
    f"#01011{number}": f"--series-{number}" for number in range(1, 7)
}
_WIDTH = 5.2
"""Inches, about the width on a phone, so that texts stay readable."""


def speedup_chart(
    categories: Sequence[str], settings: Mapping[str, Sequence[Interval | None]]
) -> str:
    """Speed-up over plain decoding: categories from top to bottom, a mark for each setting.

    Each setting has as many intervals as there are categories, None where it has no run.
    """
    height = 0.9 + len(categories) * (0.16 + 0.17 * len(settings)) + _legend_height(settings)
    with mpl.rc_context(fname=_STYLE):
        figure, axes = _figure(height)
        for index, (name, intervals) in enumerate(settings.items()):
            offset = (index - (len(settings) - 1) / 2) * 0.75 / max(len(settings), 1)
            rows = {row + offset: one for row, one in enumerate(intervals) if one is not None}
            _marks(axes, rows, name)
        axes.axvline(1, color=_FAINT, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        _name_rows(axes, categories)
        axes.set_xlabel("speed-up over plain decoding")
        return _svg(figure, "speedup")


def acceptance_chart(settings: Mapping[str, Sequence[float]]) -> str:
    """Acceptance rate by position, between 0 and 1."""
    with mpl.rc_context(fname=_STYLE):
        figure, axes = _figure(3.0 + _legend_height(settings))
        for name, rates in settings.items():
            axes.plot(range(1, len(rates) + 1), rates, label=name)
        axes.set_ylim(0, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))
        axes.set_xlabel("position in the draft")
        axes.set_ylabel("accepted")
        return _svg(figure, "acceptance")


def cost_chart(target_ms: Mapping[int, float], draft_ms: Mapping[int, float]) -> str:
    """T(k): milliseconds for k tokens in one decode, of the target and a draft if there is one.

    A dashed line shows k tokens one by one.
    """
    with mpl.rc_context(fname=_STYLE):
        figure, axes = _figure(3.4)
        for name, points in (("target", target_ms), ("draft model", draft_ms)):
            if points:
                axes.plot(list(points), list(points.values()), label=name)
        if 1 in target_ms:
            last = max(target_ms)
            axes.plot(
                [1, last],
                [target_ms[1], last * target_ms[1]],
                label="target, one by one",
                color=_FAINT,
                marker="",
                linewidth=1.2,
                linestyle=(0, (4, 3)),
            )
        axes.set_ylim(0, 1.15 * max((*target_ms.values(), *draft_ms.values())))
        axes.set_xlim(left=0)
        axes.set_xlabel("tokens in one decode")
        axes.set_ylabel("milliseconds")
        return _svg(figure, "cost")


def speed_chart(settings: Mapping[str, Interval]) -> str:
    """Tokens per second of every setting, including plain decoding."""
    with mpl.rc_context(fname=_STYLE):
        figure, axes = _figure(0.9 + 0.34 * len(settings))
        _marks(axes, dict(enumerate(settings.values())), None)
        _name_rows(axes, list(settings))
        axes.set_xlim(left=0)
        axes.set_xlabel("tokens per second")
        return _svg(figure, "speed")


def _legend_height(settings: Mapping[str, object]) -> float:
    return 0.2 * ((len(settings) + 1) // 2)


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def _marks(axes: Axes, rows: Mapping[float, Interval], name: str | None) -> None:
    """Values at their rows, with a horizontal line for an interval."""
    values = [one.value for one in rows.values()]
    [marks] = axes.plot(values, list(rows), label=name, linestyle="none")
    for row, one in rows.items():
        if one.low is not None and one.high is not None:
            axes.hlines(row, one.low, one.high, color=marks.get_color(), linewidth=1.8)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Names instead of a scale, the first at the top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _svg(figure: Figure, name: str) -> str:
    """The drawing as an inline element with ids of its own and the page's colours."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(handles, labels, loc="outside upper left", ncols=2)
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
