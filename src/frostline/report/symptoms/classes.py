"""Classes that a network never predicts, and one that it predicts of everything."""

from collections.abc import Iterator, Sequence

from frostline.errors import first_of
from frostline.record import Evaluation, RunRecord
from frostline.report.confusion import ClassScore, judge, worst_confusions
from frostline.report.numbers import percent
from frostline.report.symptoms.asked import asked, listed
from frostline.report.symptoms.symptom import Symptom

# Of a class: a network that calls classes as often as they occur misses all of so many in fewer than 1 of 100 cases.
LEAST_SAMPLES = 5
# Of all predictions: one class that gets so many leaves nothing that could be told apart.
NEARLY_ALL = 0.9
# Over its share of the samples: where most samples are of one class, most predictions should be, too.
TOO_OFTEN = 1.5
# Samples of other classes: a handful may look alike to a network that knows its classes.
LEAST_OTHERS = 10
# Of the mean over all classes, or of the class that takes everything: a class with fewer samples is rare.
RARE = 2 / 3
# Of the classes, and never fewer than three: where so many are never predicted the network has hardly learned, and no
# one class is to blame.
MANY = 0.5
MANY_LEAST = 3
NAMED = 4


def one_sided_predictions(record: RunRecord) -> Iterator[Symptom]:
    """Find classes that are never predicted, and one that takes everything, in the test samples or else the others."""
    found = {one.split: one for one in reversed(record.evaluations)}
    judged = found.get("test") or found.get("val")
    if judged is None:
        return
    scores = judge(judged, record).scores
    taker = max(scores, key=lambda one: one.predicted, default=None)
    if taker is None or len(scores) < 2:
        return
    too_often = taker.predicted >= max(NEARLY_ALL * judged.samples, TOO_OFTEN * taker.samples)
    if too_often and sum(one.samples for one in scores if one is not taker) >= LEAST_OTHERS:
        yield _takes_everything(record, judged, scores, taker)
    elif never := _never(scores):
        yield _never_predicted(record, judged, scores, never)


def _never(scores: Sequence[ClassScore]) -> list[ClassScore]:
    return [one for one in scores if one.samples >= LEAST_SAMPLES and not one.predicted]


def _takes_everything(
    record: RunRecord, judged: Evaluation, scores: Sequence[ClassScore], taker: ClassScore
) -> Symptom:
    never = _never(scores)
    every = sum(one.predicted for one in scores)
    also = f"; never predicted: {_named(never)}" if never else ""
    is_common = min(one.samples for one in scores) < RARE * taker.samples
    return Symptom(
        title="One class takes everything" if taker.predicted == every else "One class takes nearly everything",
        evidence=f"{taker.predicted:,} of {every:,} {judged.split} samples ({percent(taker.predicted, every)}) are "
        f"called {taker.name}, and {taker.samples:,} are ({percent(taker.samples, every)}){also}",
        advice=listed(
            [
                *(_balance(record) if is_common else ()),
                "look at the train loss: a rate that is too high breaks what was learned, and one that is too low, or "
                "too few epochs, leaves it unlearned",
            ]
        ),
    )


def _never_predicted(
    record: RunRecord, judged: Evaluation, scores: Sequence[ClassScore], never: Sequence[ClassScore]
) -> Symptom:
    many = len(never) >= max(MANY_LEAST, MANY * len(scores))
    mean = sum(one.samples for one in scores) / len(scores)
    advice = []
    if many:
        advice.append("more epochs or a higher rate: so many classes show that it has hardly learned yet")
    elif any(one.samples < RARE * mean for one in never):
        advice += [*_balance(record), "more samples of what is rare"]
    if not many:
        advice.append("look at their samples: labels may be mixed up, or two classes look alike")
    title = "A class is never predicted" if len(never) == 1 else "Classes are never predicted"
    taken = worst_confusions(judged.confusion, [one.name for one in scores], most=len(scores) ** 2)
    first = next((one for one in taken if one.truth == never[0].name), None)
    most_often = "" if first is None else f"; {first.truth} is taken for {first.taken_for} most often ({first.count:,})"
    return Symptom(
        title=title,
        evidence=f"{len(never)} of {len(scores)} classes, in {judged.split}: {_named(never)}{most_often}",
        advice=listed(advice),
    )


def _named(never: Sequence[ClassScore]) -> str:
    return first_of([f"{one.name} (0 of {one.samples:,} samples)" for one in never], most=NAMED)


def _balance(record: RunRecord) -> Iterator[str]:
    """Say how to balance classes, where the recipe does not do it already."""
    weights = asked(record, "loss", "class_weights")
    if asked(record, "sampling") != "balanced" and weights in (None, "none"):
        yield "balance the classes (`sampling: balanced`, or `loss.class_weights: balanced`)"
