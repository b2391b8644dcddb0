"""The confusion matrices of all arms as small heat maps beside each other, each summed over the seeds of its arm."""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest

from frostline.report.arm_evaluations import matrices
from frostline.report.arms import Arms
from frostline.report.confusion import LEVELS, NUMBERED_CLASSES_MOST, Matrix, heat
from frostline.report.numbers import percent

# In a heat map so small, that many classes leave room for numbers.
NUMBERS_FIT_MOST = 8
# Cells beside the diagonals, of all arms together: each costs the page some bytes, and a browser some time.
CELLS_MOST = 30_000


@dataclass(frozen=True, kw_only=True)
class SmallMap:
    """One arm: `levels` as in `Judged`, `numbers` as (row, column, percent of the row, words), perhaps none.

    `cut` counts the cells that are left out, the faintest; `shares` are those of the rows, for a file.
    """

    arm: str
    classes: tuple[str, ...]
    samples: int
    runs: int
    shares: tuple[tuple[float, ...], ...]
    levels: tuple[tuple[str, float, str], ...]
    numbers: tuple[tuple[int, int, str, str], ...]
    cut: int

    @property
    def words(self) -> str:
        """What the map shows, in words."""
        right = sum(self.shares[place][place] for place in range(len(self.classes))) / len(self.classes)
        return f"{self.arm}: confusion of {len(self.classes)} classes, mean recall {percent(right, 1)}"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The maps, and the classes in their order where they are few and all arms have the same."""

    maps: tuple[SmallMap, ...]
    classes: tuple[str, ...]

    @property
    def cut(self) -> int:
        """How many cells are left out."""
        return sum(one.cut for one in self.maps)


def confusion_grid(arms: Arms) -> Grid:
    """Sum up and divide by the rows the confusion matrices of each arm that has any."""
    each = [(one.arm.name, *matrices(one)) for one in arms.results]
    most = CELLS_MOST // max(1, len(each))
    maps = tuple(_small_map(arm, names, found, most) for arm, names, found in each if found)
    same = {one.classes for one in maps}
    classes = next(iter(same)) if len(same) == 1 else ()
    return Grid(maps=maps, classes=classes if len(classes) <= NUMBERED_CLASSES_MOST else ())


def _small_map(arm: str, names: tuple[str, ...], found: Sequence[Matrix], most: int) -> SmallMap:
    summed = [[sum(cells) for cells in zip(*rows, strict=True)] for rows in zip(*found, strict=True)]
    shares = tuple(tuple(cell / whole for cell in row) for row, whole in ((row, sum(row) or 1) for row in summed))
    cells = [(share, row, column) for row, line in enumerate(shares) for column, share in enumerate(line) if share]
    diagonal = [one for one in cells if one[1] == one[2]]
    beside = [one for one in cells if one[1] != one[2]]
    # Of cells with one share all are kept or none: a choice among them would look like a pattern.
    limit = 0.0 if len(beside) <= most else nlargest(most + 1, (share for share, *_ in beside))[-1]
    kept = [one for one in beside if one[0] > limit]
    return SmallMap(
        arm=arm,
        classes=names,
        samples=sum(map(sum, summed)),
        runs=len(found),
        shares=shares,
        levels=_levels([*diagonal, *kept]),
        numbers=_numbers(names, summed, shares) if len(names) <= NUMBERS_FIT_MOST else (),
        cut=len(beside) - len(kept),
    )


def _levels(cells: Sequence[tuple[float, int, int]]) -> tuple[tuple[str, float, str], ...]:
    paths: dict[tuple[str, int], list[str]] = {}
    for share, row, column in cells:
        kind = "right" if row == column else "wrong"
        paths.setdefault((kind, max(1, round(share * LEVELS))), []).append(f"M{column} {row}h1v1h-1z")
    return tuple((kind, heat(level / LEVELS), "".join(path)) for (kind, level), path in sorted(paths.items()))


def _numbers(
    names: Sequence[str], summed: Matrix, shares: Sequence[Sequence[float]]
) -> tuple[tuple[int, int, str, str], ...]:
    return tuple(
        (
            row,
            column,
            f"{100 * shares[row][column]:.0f}",
            f"{names[row]} taken for {names[column]}: {summed[row][column]:,} ({percent(shares[row][column], 1)})",
        )
        for row in range(len(names))
        for column in range(len(names))
        if summed[row][column]
    )
