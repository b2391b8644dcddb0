"""A confusion matrix as a file: the cells, levels and colours of the page."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from frostline.report.confusion import NUMBERED_CLASSES_MOST, heat
from frostline.report.figures.paper import HEAT, INK, LINE, SUNK, bare, paper, written
from frostline.report.names import shortened_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LETTERS_MOST = 28


@contextmanager
def draw_matrix(
    title: str, classes: Sequence[str], shares: Sequence[Sequence[float]], numbers: Sequence[Sequence[str]]
) -> Iterator["Figure"]:
    """Draw a matrix; names and numbers stand in it while the classes are few.

    Args:
        title: of the figure.
        classes: their names.
        shares: of each row, shares of 1.
        numbers: what stands in each cell.
    """
    import numpy as np
    from matplotlib.colors import to_rgb

    size = len(classes)
    few = size <= NUMBERED_CLASSES_MOST
    # The same opacity as in a cell of the page, over the same ground.
    heats_KK1 = np.vectorize(heat, otypes=[float])(np.array(shares))[..., None]
    right, wrong, ground = (np.array(to_rgb(colour)) for colour in (HEAT["right"], HEAT["wrong"], SUNK))
    colours_KK3 = heats_KK1 * np.where(np.eye(size, dtype=bool)[..., None], right, wrong) + (1 - heats_KK1) * ground
    names = [shortened_name(written(name), most=LETTERS_MOST) for name in classes] if few else []
    # In inches: room for the names on both sides, and for the cells.
    side = 1.6 + 0.1 * max(map(len, names)) + 0.42 * size if few else 7.0
    with paper(side, side) as figure:
        axes = figure.subplots()
        bare(axes)
        axes.imshow(colours_KK3, interpolation="nearest")
        axes.set_title(shortened_name(written(title), most=round(9 * side)))
        axes.set(xlabel="prediction", ylabel="truth")
        if few:
            axes.set_xticks(range(size), names, rotation=90)
            axes.set_yticks(range(size), names)
            for row in range(size):
                for column in range(size):
                    if shares[row][column]:
                        axes.text(column, row, numbers[row][column], ha="center", va="center", fontsize=7, color=INK)
        else:
            axes.set_xticks([])
            axes.set_yticks([])
        for edge in axes.spines.values():
            edge.set(visible=True, color=LINE)
        yield figure
