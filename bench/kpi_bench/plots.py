"""Plots as small SVG files: the same numbers give the same bytes, and they are readable on white and on black."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Mid-tones on no background: each has enough contrast on white and on black.
_INK = "#7d8590"
_COLOURS = ("#3b82c4", "#d97b29", "#4a9d5b", "#b565a7", "#8a8a3a", "#c94f4f")
_SETTINGS: Any = {
    # Text stays text, which is small and can be searched; ids do not depend on the time.
    "svg.fonttype": "none",
    "svg.hashsalt": "kpi-one",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.transparent": True,
}
# Median, lowest and highest.
Bar = tuple[float, float, float]


def bars(path: Path, values: Mapping[str, Bar], *, unit: str, ours: Sequence[str] = ()) -> None:
    """Draw horizontal bars from top to bottom, each with its range; ``ours`` are highlighted."""
    plot = _Plot(height=0.6 + 0.36 * len(values))
    names = list(values)
    for row, name in enumerate(names):
        middle, low, high = values[name]
        colour = _COLOURS[1] if name in ours else _COLOURS[0]
        plot.axes.barh(row, middle, color=colour, height=0.62, xerr=[[middle - low], [high - middle]], ecolor=_INK)
        text = f"{middle:,.0f}" if middle >= 100 else f"{middle:.3g}"
        plot.axes.annotate(text, (high, row), xytext=(5, 0), textcoords="offset points", va="center", color=_INK)
    plot.axes.set_yticks(range(len(names)), names)
    plot.axes.invert_yaxis()
    plot.axes.margins(x=0.12)
    plot.axes.set_xlabel(unit)
    plot.save(path)


# An axis whose values span more than this factor is logarithmic.
_WIDE = 20


def lines(path: Path, series: Mapping[str, Sequence[tuple[float, float]]], *, labels: tuple[str, str]) -> None:
    """Draw one line of (x, y) points per name; ``labels`` are those of x and y."""
    plot = _Plot(height=2.8)
    for number, (name, points) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        plot.axes.plot([x for x, _ in points], [y for _, y in points], label=name, color=colour, linewidth=1.6)
    plot.axes.set_xlabel(labels[0])
    plot.axes.set_ylabel(labels[1])
    plot.axes.set_ylim(bottom=0)
    places = sorted({x for points in series.values() for x, _ in points})
    if places[0] > 0 and places[-1] / places[0] > _WIDE:
        plot.axes.set_xscale("log")
        plot.axes.set_xticks(places, [f"{place:,.0f}" for place in places])
        plot.axes.minorticks_off()
    # Outside the axes, where no line runs through it.
    plot.axes.legend(frameon=False, labelcolor=_INK, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    plot.save(path)


class _Plot:
    def __init__(self, *, height: float) -> None:
        # The import takes half a second, and only drawing needs the package.
        import matplotlib as mpl  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415

        self._library: Any = mpl
        with mpl.rc_context(_SETTINGS):
            self._figure: Any = Figure(figsize=(7.2, height), layout="constrained")
            self.axes: Any = self._figure.add_subplot()

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._library.rc_context(_SETTINGS):
            self._figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
