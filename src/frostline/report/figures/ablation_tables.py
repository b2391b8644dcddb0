"""Every table of the page of an ablation."""

from frostline.report import numbers
from frostline.report.arm_classes import ByClass
from frostline.report.arm_proofs import ArmProofs, proven
from frostline.report.arm_thresholds import ArmSureness
from frostline.report.arms import Arms
from frostline.report.confusion_grid import Grid, SmallMap
from frostline.report.same_samples import Side
from frostline.report.tables import Cell, Table, headings, number, spread


def ablation_tables(
    arms: Arms, grid: Grid, classes: ByClass, sureness: ArmSureness | None, side: Side, proofs: ArmProofs
) -> list[Table]:
    """Give the tables in the order of the page."""
    tables = [_arms(arms), _runs(arms), _changes(arms), *(_matrix(one) for one in grid.maps), *classes.tables]
    if sureness is not None:
        tables.append(sureness.table)
    tables += [_side(side), proofs.table]
    return [table for table in tables if table.rows]


def _arms(arms: Arms) -> Table:
    """The table of arms; seconds and mebibytes in full, and each difference with the ends of its interval."""
    against = f"minus {'the baseline' if arms.baseline is None else arms.baseline.arm.name}"
    apart = (against, f"{against}, from", f"{against}, to", "chance of noise")
    names = ("converged at epoch", "validation minus train loss", "seconds of a run", "peak MiB", "seconds a sample")
    rows = []
    for one in arms.results:
        found = arms.differences.get(one.arm.name)
        differences = (None,) * 4 if found is None else (found.value, found.low, found.high, found.p)
        spreads = (one.converged, one.gap, one.seconds, one.memory, one.inference)
        rows.append(
            (
                Cell(said=one.arm.name),
                number(one.trained_share, numbers.share),
                spread(one.scores, numbers.loss),
                *(number(value, numbers.loss) for value in differences),
                *(spread(each, numbers.loss) for each in spreads),
                Cell(said=proven(one).said),
            )
        )
    return Table(
        name="arms",
        caption="Arms in numbers",
        headings=(*headings("arm", "trained", arms.what, *apart, *names), ("proof", False)),
        rows=tuple(rows),
    )


def _runs(arms: Arms) -> Table:
    """The marks of the strips: one score for each run."""
    return Table(
        name="scores",
        caption="The score of every run",
        headings=headings("arm", "seed", arms.what),
        rows=tuple(
            (Cell(said=one.arm.name), number(seed, numbers.whole), number(one.score_of(record), arms.say))
            for one in arms.results
            for seed, record in one.runs.items()
        ),
    )


def _changes(arms: Arms) -> Table:
    return Table(
        name="changes",
        caption="What each arm changes in the recipe",
        headings=(("arm", False), ("change", False)),
        rows=tuple((Cell(said=one.arm.name), Cell(said=change)) for one in arms.results for change in one.arm.changes),
    )


def _matrix(one: SmallMap) -> Table:
    return Table(
        name=f"confusion_{one.arm}",
        caption=f"Confusion of {one.arm}: shares of the row, summed over the seeds",
        headings=headings("truth", *one.classes),
        rows=tuple(
            (Cell(said=name), *(number(share, numbers.share) for share in row))
            for name, row in zip(one.classes, one.shares, strict=True)
        ),
    )


def _side(side: Side) -> Table:
    """The same samples: of each arm what it said, how sure of it, and how sure of the truth."""
    columns = [
        column
        for name in side.columns
        for column in ((f"{name} said", False), (f"{name} confidence", True), (f"{name} of the truth", True))
    ]
    rows = []
    for one in side.samples:
        cells = [Cell(said=one.sample), Cell(said=one.truth), number(one.right, numbers.whole)]
        for answer in one.answers:
            cells += [
                Cell(said=numbers.NONE if answer is None else answer.predicted),
                number(None if answer is None else answer.confidence, numbers.share),
                number(None if answer is None else answer.of_truth, numbers.share),
            ]
        rows.append(tuple(cells))
    return Table(
        name="same_samples",
        caption=side.said,
        headings=(("sample", False), ("truth", False), ("arms right", True), *columns),
        rows=tuple(rows),
    )
