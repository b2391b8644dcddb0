"""What the runs of an arm were judged to be, on the set that its score is measured on."""

from frostline.record import Evaluation
from frostline.report.arms import ArmResult


def evaluations(result: ArmResult) -> dict[int, Evaluation]:
    """Give the evaluations of the runs of an arm by seed, of those that have one."""
    split = "test" if result.split == "test" else "val"
    found = {
        seed: next((one for one in record.evaluations if one.split == split), None)
        for seed, record in result.runs.items()
    }
    return {seed: one for seed, one in found.items() if one is not None}


def matrices(result: ArmResult) -> tuple[tuple[str, ...], list[tuple[tuple[int, ...], ...]]]:
    """Give the classes of an arm and the confusion matrix of each of its runs; none where none can be drawn.

    Of runs with other classes than the first, and of matrices that are not square, nothing is given.
    """
    names: tuple[str, ...] = ()
    found = []
    for seed, one in evaluations(result).items():
        size, classes = len(one.confusion), result.runs[seed].classes
        if not size or size != len(classes) or any(len(row) != size for row in one.confusion):
            continue
        names = names or classes
        if classes == names:
            found.append(one.confusion)
    return names, found
