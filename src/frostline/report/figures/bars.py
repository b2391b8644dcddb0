"""Frost maps and strips of scores as files: widths, places and states of the page."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from frostline.report.figures.paper import COLD, INK, LINE, LOOKS, MUTED, SUNK, WARM, bare, paper, written
from frostline.report.frost import Bar, Segment
from frostline.report.names import shortened_name
from frostline.report.numbers import count
from frostline.report.strips import Strips

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME_LETTERS_MOST = 40
# Of the width of a bar; the names of narrower stages would lie over each other.
NAMED_LEAST = 0.06


@contextmanager
def draw_frost_maps(bars: Sequence[tuple[str, Bar]]) -> Iterator["Figure"]:
    """Draw a bar for each named phase: held stages cold and hatched, trained ones warm."""
    from matplotlib.patches import Patch, Rectangle

    with paper(9, 1.0 + 0.75 * len(bars)) as figure:
        axes = figure.subplots()
        bare(axes)
        axes.set(xlim=(0, 1), ylim=(len(bars) - 0.3, -0.5))
        axes.set_xticks([])
        axes.set_yticks([row - 0.1 for row in range(len(bars))], [_short(name) for name, _ in bars], color=INK)
        for row, (_, bar) in enumerate(bars):
            whole = sum(segment.width for segment in bar.segments)
            left = 0.0
            for segment in bar.segments:
                width = segment.width / whole
                for share, start, held in _parts(segment):
                    axes.add_patch(
                        Rectangle(
                            (left + start * width, row - 0.3), share * width, 0.4,
                            facecolor=SUNK if held is None else COLD if held else WARM,
                            hatch="///" if held else None, edgecolor="white", linewidth=1,
                        )
                    )  # fmt: skip
                if width >= NAMED_LEAST:
                    name = shortened_name(written(segment.name), most=max(4, round(110 * width)))
                    said = f"{name}\n{count(segment.parameters)}"
                    axes.text(left + width / 2, row + 0.13, said, ha="center", va="top", fontsize=7, color=MUTED)
                left += width
        keys = [
            Patch(facecolor=COLD, hatch="///", edgecolor="white", label="held"),
            Patch(facecolor=WARM, label="trained"),
        ]
        figure.legend(handles=keys, loc="outside lower left", ncols=2, frameon=False)
        yield figure


@contextmanager
def draw_strips(title: str, strips: Strips) -> Iterator["Figure"]:
    """Draw the scores of arms: a row for each, a mark for each run."""
    rows = list(strips.by_arm.items())
    with paper(8, 1.0 + 0.32 * len(rows)) as figure:
        axes = figure.subplots()
        bare(axes)
        axes.set(xlim=(0, 100), ylim=(len(rows) - 0.4, -0.6))
        axes.set_title(written(title))
        axes.set_xticks([place for place, _ in strips.ticks], [label for _, label in strips.ticks])
        axes.set_yticks(range(len(rows)), [_short(name) for name, _ in rows], color=INK)
        axes.grid(axis="x", color=LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        if strips.baseline is not None:
            axes.axvline(strips.baseline, color=MUTED, linewidth=0.8, linestyle=":")
        for row, (_, strip) in enumerate(rows):
            if strip.low is not None and strip.high is not None:
                axes.plot([strip.low, strip.high], [row, row], color=LOOKS[2], linewidth=1.5)
            if strip.mean is not None:
                axes.plot([strip.mean, strip.mean], [row - 0.3, row + 0.3], color=INK, linewidth=2)
            axes.plot(
                [place for place, _ in strip.marks], [row] * len(strip.marks),
                linestyle="none", marker="o", markersize=5, color=LOOKS[2], alpha=0.75,
            )  # fmt: skip
        yield figure


def _parts(segment: Segment) -> tuple[tuple[float, float, bool | None], ...]:
    """Give the parts of a stage as (share of its width, where it begins, whether it is held; None: not known)."""
    if segment.state == "split":
        held = segment.held_percent / 100
        return ((held, 0.0, True), (1 - held, held, False))
    return ((1.0, 0.0, {"held": True, "trained": False}.get(segment.state)),)


def _short(name: str) -> str:
    return shortened_name(written(name), most=NAME_LETTERS_MOST)
