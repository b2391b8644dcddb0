"""Recall, precision and F1 of each class under each arm, and which arm is best at it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from frostline.report.arm_evaluations import matrices
from frostline.report.arms import Arms, Spread
from frostline.report.confusion import ClassScore, class_scores
from frostline.report.numbers import share
from frostline.report.tables import Cell, Table, headings, spread

CLASSES_MOST = 60


@dataclass(frozen=True, kw_only=True)
class ByClass:
    """The tables, one for each measure, and how many classes they leave out, those in which the arms differ least."""

    tables: tuple[Table, ...]
    classes: int
    shown: int


# The scores of one arm: a list for each class, with those of each run.
Scores = dict[str, list[ClassScore]]
Measure = Callable[[ClassScore], float | None]


def by_class(arms: Arms) -> ByClass:
    """Make the tables of recall, precision and F1; without rows where no run has a confusion matrix."""
    scores = {one.arm.name: _scores(*matrices(one)) for one in arms.results}
    names = list(dict.fromkeys(name for found in scores.values() for name in found))
    shown = names
    if len(names) > CLASSES_MOST:
        apart = {name: _apart(name, scores, _recall) for name in names}
        most = set(sorted(names, key=lambda name: -apart[name])[:CLASSES_MOST])
        shown = [name for name in names if name in most]
    columns = [name for name, found in scores.items() if found]
    tables = [
        _table(what, shown, columns, scores, measure)
        for what, measure in (("recall", _recall), ("precision", _precision), ("F1", _f1))
    ]
    return ByClass(tables=tuple(tables), classes=len(names), shown=len(shown))


def _scores(names: tuple[str, ...], found: Sequence[tuple[tuple[int, ...], ...]]) -> Scores:
    every = [class_scores(matrix, names) for matrix in found]
    return {each[0].name: list(each) for each in zip(*every, strict=True)}


def _recall(score: ClassScore) -> float | None:
    return score.recall


def _precision(score: ClassScore) -> float | None:
    return score.precision


def _f1(score: ClassScore) -> float | None:
    counted = score.samples + score.predicted
    return 2 * score.correct / counted if counted else None


def _measured(name: str, scores: Scores, measure: Measure) -> Spread:
    found = (measure(one) for one in scores.get(name, ()))
    return Spread(values=tuple(value for value in found if value is not None))


def _apart(name: str, scores: dict[str, Scores], measure: Measure) -> float:
    means = [mean(found.values) for one in scores.values() if (found := _measured(name, one, measure)).values]
    return max(means) - min(means) if means else 0.0


def _table(
    what: str, names: Sequence[str], columns: Sequence[str], scores: dict[str, Scores], measure: Measure
) -> Table:
    rows = []
    for name in names:
        each = [_measured(name, scores[arm], measure) for arm in columns]
        means = [share(one.mean) for one in each if one.values]
        # To the digits that are shown: what looks the same is as good.
        top = max(means) if len(set(means)) > 1 else None
        cells = (spread(one, share, best=bool(one.values) and share(one.mean) == top) for one in each)
        rows.append((Cell(said=name), *cells))
    return Table(
        name=f"{what.lower()}_by_class",
        caption=f"{what[0].upper()}{what[1:]} by class, mean ± standard deviation over the seeds; "
        "the best arm of each class is in bold and marked ★.",
        headings=headings("class", *columns),
        rows=tuple(rows),
    )
