"""How sure is sure enough, for one run: the figures, the best threshold in words, and a table by class."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from statistics import mean

from frostline.record import Predictions
from frostline.report.chart import Chart
from frostline.report.numbers import NONE, share
from frostline.report.tables import Cell, Table, headings, number
from frostline.report.threshold_charts import Curves, drawn_at, threshold_charts
from frostline.report.thresholds import Point, Ranking, all_classes, by_class

CLASSES_DRAWN_MOST = 20
SETS = {"test": "the test samples", "val": "the samples of validation"}


@dataclass(frozen=True, kw_only=True)
class Sureness:
    """What the section shows: which set is drawn, its figures, sentences, and the table by class."""

    where: str
    charts: tuple[Chart, ...]
    said: tuple[str, ...]
    table: Table


def sureness(predictions: Sequence[Predictions]) -> Sureness | None:
    """Prepare the section; None where a run kept no predictions.

    Args:
        predictions: of the sets that the run judged. The test set is drawn where there is one, and the threshold is
            chosen on validation where there is that: what is chosen on a set looks better on it than it is.
    """
    ranked = {one.split: (one, found) for one in predictions if (found := all_classes(one)) is not None}
    drawn_on = next((split for split in ("test", "val") if split in ranked), next(iter(ranked), None))
    if drawn_on is None:
        return None
    chosen_on = "val" if "val" in ranked else drawn_on
    drawn, together = ranked[drawn_on]
    best = ranked[chosen_on][1].best
    chosen = together.at(best.threshold)
    each = by_class(drawn)
    lines = [_curves("all classes", 2, together, chosen=chosen)]
    if 1 < len(each) <= CLASSES_DRAWN_MOST:
        lines += [
            _curves(name, 1, one, faint=True) for name, one in zip(drawn.classes, each, strict=True) if one is not None
        ]
    return Sureness(
        where=SETS.get(drawn_on, drawn_on),
        charts=threshold_charts(lines, others="one class"),
        said=_said(best, chosen, chosen_on, drawn_on),
        table=_table(drawn, together, each),
    )


def _curves(name: str, look: int, one: Ranking, *, chosen: Point | None = None, faint: bool = False) -> Curves:
    thresholds_T, precision_T, recall_T, f1_T = drawn_at(one)
    return Curves(
        name=name,
        look=look,
        thresholds_T=thresholds_T,
        precision_T=precision_T,
        recall_T=recall_T,
        f1_T=f1_T,
        average_precision=one.average_precision,
        chosen=chosen,
        faint=faint,
    )


def _said(best: Point, chosen: Point, chosen_on: str, drawn_on: str) -> tuple[str, ...]:
    chosen_where, drawn_where = (SETS.get(split, split) for split in (chosen_on, drawn_on))
    first = (
        f"F1 is highest on {chosen_where}, {share(best.f1)}, where what the network says with a confidence of "
        f"{share(best.threshold)} or more counts."
    )
    if chosen_on == drawn_on:
        return (first, f"There, {_means(chosen)}.")
    return (first, f"On {drawn_where} that gives F1 {share(chosen.f1)}: {_means(chosen)}.")


def _means(chosen: Point) -> str:
    right = NONE if isnan(chosen.precision) else share(chosen.precision)
    found = share(chosen.recall)
    return f"{right} of what is said is right (precision), and {found} of the samples get their class (recall)"


def _table(drawn: Predictions, together: Ranking, each: Sequence[Ranking | None]) -> Table:
    named = [("all classes", together), *zip(drawn.classes, each, strict=True)]
    known = [one.average_precision for one in each if one is not None]
    return Table(
        name="thresholds",
        caption=f"Mean average precision over the classes {share(mean(known)) if known else NONE}. "
        "The best F1 of a class is found on these same samples.",
        headings=headings("class", "average precision", "best F1", "at confidence", "precision", "recall"),
        rows=tuple((Cell(said=name, best=place == 0), *_cells(one)) for place, (name, one) in enumerate(named)),
    )


def _cells(one: Ranking | None) -> tuple[Cell, ...]:
    if one is None:
        return tuple(number(None, share) for _ in range(5))
    best = one.best
    values = (one.average_precision, best.f1, best.threshold, best.precision, best.recall)
    return tuple(number(value, share) for value in values)
