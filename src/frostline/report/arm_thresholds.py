"""Precision, recall and F1 against confidence for every arm: the mean over its seeds at each threshold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from frostline.report.arms import ArmResult, Arms, Spread
from frostline.report.chart import Chart
from frostline.report.numbers import share
from frostline.report.overlay import Look, in_order, others
from frostline.report.tables import Cell, Table, headings, spread
from frostline.report.threshold_charts import Curves, drawn_at, threshold_charts
from frostline.report.thresholds import Ranking, all_classes

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class ArmSureness:
    """What the section shows: its figures, the table, and arms of which no run kept what was said of its samples."""

    charts: tuple[Chart, ...]
    table: Table
    missing: tuple[str, ...]


def arm_sureness(arms: Arms) -> ArmSureness | None:
    """Prepare the section; None where no run of any arm kept its predictions."""
    ranked = [(one, look, _rankings(one)) for one, look in in_order(arms)]
    lines = [_mean(one.arm.name, look, found) for one, look, found in ranked if found]
    if not lines:
        return None
    by_name = {one.arm.name: found for one, _, found in ranked}
    return ArmSureness(
        charts=threshold_charts(lines, others=others(arms)),
        table=_table(arms, by_name),
        missing=tuple(one.arm.name for one in arms.results if one.runs and not by_name[one.arm.name]),
    )


def _rankings(result: ArmResult) -> list[Ranking]:
    # One run after the other, since what is said of many samples and classes takes room.
    found = (result.predictions(seed) for seed in result.runs)
    return [one for said in found if said is not None and (one := all_classes(said)) is not None]


def _mean(name: str, look: Look, rankings: Sequence[Ranking]) -> Curves:
    import numpy as np

    thresholds_T, precision_T, recall_T, f1_T = (
        _known_mean(np.stack(each)) for each in zip(*map(drawn_at, rankings), strict=True)
    )
    return Curves(
        name=name,
        look=look.colour,
        thresholds_T=thresholds_T,
        precision_T=precision_T,
        recall_T=recall_T,
        f1_T=f1_T,
        average_precision=sum(one.average_precision for one in rankings) / len(rankings),
        dashed=look.dashed,
        faint=look.faint,
    )


def _known_mean(values_ST: "np.ndarray") -> "np.ndarray":
    """Give the mean over the seeds S that have a value; NaN where none has."""
    import numpy as np

    known_T = np.isfinite(values_ST).sum(0)
    means_T: np.ndarray = np.where(known_T > 0, np.nansum(values_ST, axis=0) / np.maximum(known_T, 1), np.nan)
    return means_T


def _table(arms: Arms, rankings: dict[str, list[Ranking]]) -> Table:
    rows = []
    for one in arms.results:
        found = rankings[one.arm.name]
        best = [ranked.best for ranked in found]
        values = (
            [ranked.average_precision for ranked in found],
            [point.f1 for point in best],
            [point.threshold for point in best],
            [point.precision for point in best],
            [point.recall for point in best],
        )
        name = Cell(said=one.arm.name, best=one is arms.best)
        rows.append((name, *(spread(Spread(values=tuple(each)), share) for each in values)))
    return Table(
        name="thresholds",
        caption="Average precision and the best F1 of each run, mean ± standard deviation over the seeds; "
        "the best F1 is found on these same samples.",
        headings=headings("arm", "average precision", "best F1", "at confidence", "precision", "recall"),
        rows=tuple(rows),
    )
