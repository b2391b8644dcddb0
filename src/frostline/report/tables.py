"""A table as the page draws it and as a file holds it: every cell with its words and the number behind them."""

import math
from dataclasses import dataclass

from frostline.report.arms import Spread
from frostline.report.numbers import NONE, Say


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What a cell says, the number that it is sorted by, where it has one, and whether it is the best of its row.

    `sd` is the standard deviation where the number is a mean.
    """

    said: str
    by: float | None = None
    sd: float | None = None
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table: `name` calls its file, `headings` have (words, whether numbers stand below), the first cell names a row.

    A row whose first cell is the best is marked as a whole.
    """

    name: str
    caption: str
    headings: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[Cell, ...], ...]


def number(value: float | None, say: Say, *, best: bool = False) -> Cell:
    """Give a cell with a number, or with the sign for none.

    >>> number(0.5, lambda value: f"{value:.2f}")
    Cell(said='0.50', by=0.5, sd=None, best=False)
    """
    known = value is not None and math.isfinite(value)
    return Cell(said=NONE if value is None else say(value), by=value if known else None, best=best)


def spread(values: Spread, say: Say, *, best: bool = False) -> Cell:
    """Give a cell with the mean of some numbers and their standard deviation."""
    if not values.values:
        return Cell(said=NONE, best=best)
    return Cell(said=values.said(say), by=values.mean, sd=values.sd, best=best)


def headings(first: str, *numbers: str) -> tuple[tuple[str, bool], ...]:
    """Give the headings of a table whose first column has names and the others numbers.

    >>> headings("class", "recall")
    (('class', False), ('recall', True))
    """
    return ((first, False), *((name, True) for name in numbers))
