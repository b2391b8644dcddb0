"""A figure with curves as geometry: everything in percent of the plane, so that text keeps its size."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A point of a curve: its place in percent from the left and from the top, and what it says."""

    x: float
    y: float
    words: str


@dataclass(frozen=True, kw_only=True)
class Series:
    """One curve: `runs` are unbroken stretches as SVG points in thousandths, `look` numbers its colour and shape.

    A faint one is thin and grey, has no line in the legend, and is told apart by its name alone. `note` is what the
    legend says besides the name.
    """

    name: str
    look: int
    runs: tuple[str, ...]
    dashed: bool = False
    marks: tuple[Mark, ...] = ()
    best: Mark | None = None
    faint: bool = False
    note: str = ""

    @property
    def lines(self) -> tuple[tuple[tuple[float, float], ...], ...]:
        """The stretches as places in percent from the left and from the top."""
        pairs = [[point.split(",") for point in run.split()] for run in self.runs]
        return tuple(tuple((float(x) / 10, float(y) / 10) for x, y in run) for run in pairs)


@dataclass(frozen=True, kw_only=True)
class Band:
    """The epochs of one phase: the share of the width that they take, in percent, and where they begin."""

    start: float
    width: float
    number: int
    freeze: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One figure: curves, ticks as (place in percent, label), phases, what a ring is, and what the faint curves are."""

    title: str
    words: str
    series: tuple[Series, ...]
    x_name: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    bands: tuple[Band, ...] = ()
    best: str | None = None
    others: str | None = None
    logarithmic: bool = False


def points(places: Iterable[tuple[float, float]]) -> str:
    """Write places in percent as SVG points in thousandths.

    >>> points([(0, 100), (12.5, 7.25)])
    '0,1000 125,72.5'
    """
    return " ".join(f"{10 * x:g},{10 * y:g}" for x, y in places)
