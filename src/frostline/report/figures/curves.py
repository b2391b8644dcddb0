"""A figure with curves as a file: the same places as on the page, in percent of the plane."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from frostline.report.chart import Chart, Series
from frostline.report.figures.paper import INK, LINE, LOOKS, MUTED, bare, paper, written

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

# The shapes of the page's marks, by look.
MARKS = {1: "o", 2: "s", 3: "D", 4: "^", 5: "v", 6: "P"}
LEGEND_LETTERS_MOST = 60
# Of the longest name in the legend, for two of them to fit beside each other.
TWO_COLUMNS_MOST = 40


@contextmanager
def draw_chart(chart: Chart) -> Iterator["Figure"]:
    """Draw a chart; the figure lives while it is asked for."""
    rows = sum(not series.faint for series in chart.series) + 2
    with paper(7, 3.6 + 0.2 * rows) as figure:
        axes = figure.subplots()
        bare(axes)
        # The page counts from above.
        axes.set(xlim=(0, 100), ylim=(100, 0))
        axes.set_xticks([place for place, _ in chart.x_ticks], [label for _, label in chart.x_ticks])
        axes.set_yticks([place for place, _ in chart.y_ticks], [label for _, label in chart.y_ticks])
        axes.grid(axis="y", color=LINE, linewidth=0.8)
        axes.set_xlabel(chart.x_name)
        axes.set_title(written(chart.title) + (" (logarithmic)" if chart.logarithmic else ""))
        axes.set_axisbelow(True)
        for band in chart.bands:
            if band.start:
                axes.axvline(band.start, color=MUTED, linewidth=0.8, linestyle=":")
        named: dict[str, Artist] = {}
        for series in chart.series:
            style: dict[str, Any] = {
                "color": LOOKS[series.look],
                "linewidth": 0.7 if series.faint else 1.6,
                "alpha": 0.4 if series.faint else 1.0,
                "linestyle": "--" if series.dashed else "-",
                "clip_on": False,  # at the edge half of a line would be lost
            }
            for line in series.lines:
                (drawn,) = axes.plot(*zip(*line, strict=True), **style)
            if series.marks:
                (marks,) = axes.plot(
                    [mark.x for mark in series.marks], [mark.y for mark in series.marks],
                    linestyle="none", marker=MARKS[series.look], markersize=4, color=LOOKS[series.look], clip_on=False,
                )  # fmt: skip
            if series.best is not None:
                axes.plot(
                    series.best.x, series.best.y,
                    marker="o", markersize=10, markerfacecolor="none", markeredgecolor=INK, clip_on=False,
                )  # fmt: skip
            if series.lines or series.marks:
                named.setdefault(_name(series, chart), drawn if series.lines else marks)
        if chart.best is not None:
            (ring,) = axes.plot(
                [], [], linestyle="none", marker="o", markersize=8, markerfacecolor="none", markeredgecolor=INK
            )
            named[written(chart.best)] = ring
        columns = 2 if max(map(len, named), default=0) <= TWO_COLUMNS_MOST else 1
        figure.legend(list(named.values()), list(named), loc="outside lower left", ncols=columns, frameon=False)
        yield figure


def _name(series: Series, chart: Chart) -> str:
    if series.faint:
        return chart.others or ""
    text = written(series.name)
    short = text if len(text) <= LEGEND_LETTERS_MOST else f"{text[: LEGEND_LETTERS_MOST - 1]}…"
    return f"{short} ({series.note})" if series.note else short
