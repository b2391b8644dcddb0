"""A run that ended while it was still learning fast."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from frostline.record import EpochRecord, RunRecord
from frostline.report import numbers
from frostline.report.symptoms.asked import asked_of_phase, metric_of
from frostline.report.symptoms.noise import chance, validation_count
from frostline.report.symptoms.symptom import Symptom

# A phase of fewer epochs was meant to be short, and every short run ends while it learns.
LEAST_EPOCHS = 6
# The last steps from epoch to epoch that are looked at.
STEPS = 3
# Of a loss, in each of them, in training and in validation: the validation losses of good runs of this project fell by
# 0.5 to 6 % in their last step, while train losses fell by up to half, since they fall as long as one trains.
LEAST_FALL = 0.08


def still_learning(record: RunRecord) -> Iterator[Symptom]:
    """Find a last phase whose losses fall steeply to the end, and whose metric rises by more than chance."""
    if record.status != "finished" or not record.phases or record.phases[-1].stopped_early:
        return
    phase = record.phases[-1]
    epochs = [epoch for epoch in record.epochs if epoch.phase == phase.index]
    last = epochs[-STEPS - 1 :]
    if len(epochs) < LEAST_EPOCHS or not (_falls([one.train_loss for one in last]) and _falls(_validation(last))):
        return
    name = metric_of(record)
    said = ""
    if name != "loss":
        before, after = last[0].metrics.get(name), last[-1].metrics.get(name)
        if before is None or after is None:
            return
        by_chance = chance(name, before, after, count=validation_count(record, name))
        if by_chance is None or after - before <= by_chance:
            return
        said = f"; {name.replace('_', ' ')} {numbers.share(before)} → {numbers.share(after)}"
    losses = ", ".join(
        f"{what} loss {numbers.loss(values[0])} → {numbers.loss(values[-1])}"
        for what, values in (("train", [one.train_loss for one in last]), ("validation", _validation(last)))
    )
    number = len(record.phases)
    patient = asked_of_phase(record, number, "patience") is not None
    yield Symptom(
        title="It ended while it was still learning",
        evidence=f"in the last {STEPS} epochs, each better than the one before: {losses}{said}",
        advice=f"More epochs (`phases.{number - 1}.epochs`{'' if patient else '; `patience` ends them when it is time'}"
        "), or a higher rate.",
        severity="note",
    )


def _validation(epochs: Sequence[EpochRecord]) -> list[float]:
    return [math.nan if one.val_loss is None else one.val_loss for one in epochs]


def _falls(losses: Sequence[float]) -> bool:
    return all(low < (1 - LEAST_FALL) * high for high, low in pairwise(losses))
