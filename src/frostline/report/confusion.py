"""What was taken for what: recall and precision by class, the worst confusions, and the heat map."""

from collections.abc import Sequence
from dataclasses import dataclass

from frostline.record import Evaluation, RunRecord
from frostline.report import numbers
from frostline.report.tables import Cell, Table, headings, number

Matrix = Sequence[Sequence[int]]

NUMBERED_CLASSES_MOST = 20
UPRIGHT_CLASSES_MOST = 4
UPRIGHT_LETTERS_MOST = 10
LEVELS = 10


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One class: samples that are of it, samples that were called it, and those of both; None divides by nothing."""

    name: str
    samples: int
    predicted: int
    correct: int
    recall: float | None
    precision: float | None


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """One cell beside the diagonal: `count` samples of `truth`, a `share` of them all, were taken for another."""

    truth: str
    taken_for: str
    count: int
    share: float


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One evaluation as the page shows it; `names` is empty where no matrix can be drawn."""

    evaluation: Evaluation
    names: tuple[str, ...]
    scores: tuple[ClassScore, ...]
    confusions: tuple[Confusion, ...]

    @property
    def numbered(self) -> bool:
        """Whether the classes are few enough for a number in every cell."""
        return len(self.names) <= NUMBERED_CLASSES_MOST

    @property
    def upright(self) -> bool:
        """Whether the names of the columns fit without being turned."""
        return len(self.names) <= UPRIGHT_CLASSES_MOST and max(map(len, self.names)) <= UPRIGHT_LETTERS_MOST

    @property
    def class_table(self) -> Table:
        """Recall, precision and counts of every class."""
        return Table(
            name=f"classes_{self.evaluation.split}",
            caption=f"Recall and precision by class, {self.evaluation.split}",
            headings=headings("class", "recall", "precision", "samples", "predicted", "right"),
            rows=tuple(
                (
                    Cell(said=one.name),
                    *(number(value, numbers.share) for value in (one.recall, one.precision)),
                    *(number(value, _exact) for value in (one.samples, one.predicted, one.correct)),
                )
                for one in self.scores
            ),
        )

    @property
    def confusion_table(self) -> Table:
        """The worst confusions."""
        return Table(
            name=f"worst_confusions_{self.evaluation.split}",
            caption="The worst confusions" if self.confusions else "No sample was taken for another class.",
            headings=(("truth", False), ("taken for", False), ("samples", True), ("share of the truth", True)),
            rows=tuple(
                (
                    Cell(said=one.truth),
                    Cell(said=one.taken_for),
                    number(one.count, _exact),
                    number(one.share, lambda value: numbers.percent(100 * (value or 0), 100)),
                )
                for one in self.confusions
            ),
        )

    @property
    def shares(self) -> tuple[tuple[float, ...], ...]:
        """The matrix divided by the sum of each row; a row without samples stays 0."""
        return tuple(_shares(row) for row in self.evaluation.confusion)

    @property
    def levels(self) -> tuple[tuple[str, float, str], ...]:
        """The heat map without numbers, as few SVG paths: ("right" or "wrong", opacity, path), a cell being 1 by 1."""
        cells: dict[tuple[str, int], list[str]] = {}
        for row, shares in enumerate(self.shares):
            for column, share in enumerate(shares):
                if share:
                    level = max(1, round(share * LEVELS))
                    kind = "right" if row == column else "wrong"
                    cells.setdefault((kind, level), []).append(f"M{column} {row}h1v1h-1z")
        return tuple((kind, heat(level / LEVELS), "".join(paths)) for (kind, level), paths in sorted(cells.items()))


def judge(evaluation: Evaluation, record: RunRecord) -> Judged:
    """Prepare one evaluation; a matrix that is missing or not square is left out."""
    matrix = evaluation.confusion
    size = len(matrix)
    if not size or any(len(row) != size for row in matrix):
        return Judged(evaluation=evaluation, names=(), scores=(), confusions=())
    fits = len(record.classes) == size
    names = record.classes if fits else tuple(f"class {number}" for number in range(size))
    return Judged(
        evaluation=evaluation,
        names=names,
        scores=class_scores(matrix, names),
        confusions=worst_confusions(matrix, names),
    )


def class_scores(matrix: Matrix, names: Sequence[str]) -> tuple[ClassScore, ...]:
    """Count recall and precision of each class.

    Args:
        matrix: rows are the truth, columns the prediction.
        names: one for each row.

    >>> [(score.recall, score.precision) for score in class_scores([[3, 1], [0, 0]], ["cat", "dog"])]
    [(0.75, 1.0), (None, 0.0)]
    """
    predicted = [sum(column) for column in zip(*matrix, strict=True)]
    return tuple(
        ClassScore(
            name=name,
            samples=sum(row),
            predicted=predicted[place],
            correct=row[place],
            recall=row[place] / sum(row) if sum(row) else None,
            precision=row[place] / predicted[place] if predicted[place] else None,
        )
        for place, (name, row) in enumerate(zip(names, matrix, strict=True))
    )


def worst_confusions(matrix: Matrix, names: Sequence[str], *, most: int = 10) -> tuple[Confusion, ...]:
    """Name the confusions that cost most samples, the largest first.

    >>> [(one.truth, one.taken_for, one.share) for one in worst_confusions([[3, 1], [0, 2]], "ab")]
    [('a', 'b', 0.25)]
    """
    confusions = [
        Confusion(truth=names[place], taken_for=names[other], count=cell, share=cell / sum(row))
        for place, row in enumerate(matrix)
        for other, cell in enumerate(row)
        if cell and other != place
    ]
    return tuple(sorted(confusions, key=lambda one: (-one.count, -one.share))[:most])


def heat(share: float) -> float:
    """Give the opacity of a cell: none for nothing, and never so little that one sample is invisible.

    >>> heat(0.0), heat(0.5), heat(1.0)
    (0.0, 0.56, 1.0)
    """
    return round(0.12 + 0.88 * share, 3) if share else 0.0


def _exact(value: float | None) -> str:
    return numbers.exact(None if value is None else int(value))


def _shares(row: Sequence[int]) -> tuple[float, ...]:
    whole = sum(row)
    return tuple(cell / whole if whole else 0.0 for cell in row)
