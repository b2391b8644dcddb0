"""A figure with curves as a file: every place and label is that of the page."""

import pytest

from frostline.report.curves import charts
from frostline.report.figures.curves import draw_chart

from .. import records


@pytest.mark.parametrize("name", ["good", "gradual"])
def test_places_and_labels_are_those_of_the_page(name: str) -> None:
    for chart in charts(records.EVERY[name]()):
        with draw_chart(chart) as figure:
            (axes,) = figure.axes
            assert [
                (place, text.get_text()) for place, text in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
            ] == [*chart.y_ticks]
            assert [text.get_text() for text in axes.get_xticklabels()] == [label for _, label in chart.x_ticks]
            drawn = [tuple(map(tuple, line.get_xydata().tolist())) for line in axes.get_lines()]
            for series in chart.series:
                assert all(line in drawn for line in series.lines)
            legend = [text.get_text() for text in figure.legends[0].get_texts()]
            assert legend == [*(series.name for series in chart.series), *([chart.best] if chart.best else [])]
            # Axes count from below, and the page from above.
            assert axes.get_ylim() == (100, 0)
