"""Training and validation that drift apart: the validation loss rises from its minimum while the train loss falls."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean

from frostline.record import EpochRecord, PhaseRecord, RunRecord
from frostline.report import numbers
from frostline.report.frost import phase_numbers
from frostline.report.symptoms.asked import asked, asked_of_phase, listed, metric_of, trains_beside_the_head
from frostline.report.symptoms.noise import CHANCE, chance, validation_count
from frostline.report.symptoms.symptom import Symptom

# Epochs behind the minimum that are looked at together: one or two that are worse are how validation goes.
EPOCHS = 3
# Of the minimum: what the loss must have risen by, however many samples there are; less changes no prediction.
LEAST_RISE = 0.1
# The same where the number of samples is not known.
LEAST_RISE_UNKNOWN = 0.5
# In nats: what nobody sees in a network that is sure of nearly everything, where shares of the minimum mean little.
LEAST_NATS = 0.05
# Of the train loss at the minimum: what it must have fallen by meanwhile.
LEAST_FALL = 0.1


@dataclass(frozen=True, kw_only=True)
class _Drift:
    """One phase: the epoch of the lowest validation loss, the last ones, and by how much the loss rose."""

    number: int
    phase: PhaseRecord
    lowest: EpochRecord
    last: tuple[EpochRecord, ...]
    rise: float


def drifting_apart(record: RunRecord) -> Iterator[Symptom]:
    """Find the phase in which training and validation drift apart most."""
    numbered = phase_numbers(record)
    found = [
        drift for phase in record.phases if (drift := _drift(record, phase, number=numbered[phase.index])) is not None
    ]
    if not found:
        return
    most = max(found, key=lambda one: one.rise)
    low, end = most.lowest, most.last[-1]
    in_phase = f"phase {most.number}, " if len(record.phases) > 1 else ""
    assert low.val_loss is not None
    assert end.val_loss is not None
    evidence = (
        f"{in_phase}from epoch {low.epoch} to {end.epoch}: validation loss {numbers.loss(low.val_loss)} → "
        f"{numbers.loss(end.val_loss)}, train loss {numbers.loss(low.train_loss)} → {numbers.loss(end.train_loss)}; "
        f"the gap between them {numbers.signed(low.val_loss - low.train_loss)} → "
        f"{numbers.signed(end.val_loss - end.train_loss)}"
    )
    metric, harmed = _metric(record, most)
    yield Symptom(
        title="Training and validation drift apart",
        evidence=evidence + metric,
        advice=listed(_advice(record, most)),
        severity="sign" if harmed else "note",
    )


def _drift(record: RunRecord, phase: PhaseRecord, *, number: int) -> _Drift | None:
    epochs = [
        epoch
        for epoch in record.epochs
        if epoch.phase == phase.index and math.isfinite(epoch.train_loss) and _finite(epoch.val_loss)
    ]
    if len(epochs) <= EPOCHS:
        return None
    losses = [epoch.val_loss or 0.0 for epoch in epochs]
    place = losses.index(min(losses))
    low, last = epochs[place], epochs[-EPOCHS:]
    if len(epochs) - 1 - place < EPOCHS:
        return None
    # With its neighbours: the lowest of many is lower than the others by chance alone.
    level = mean(losses[max(0, place - 1) : place + 2])
    least = max(LEAST_NATS, level * _least_share(record.samples.get("val", 0)))
    rises = [loss - level for loss in losses[-EPOCHS:]]
    falls = mean(epoch.train_loss for epoch in last) < (1 - LEAST_FALL) * low.train_loss
    if not falls or mean(rises) <= least or min(rises) <= least / 2:
        return None
    return _Drift(number=number, phase=phase, lowest=low, last=tuple(last), rise=mean(rises))


def _least_share(count: int) -> float:
    """Say what share of the minimum may be chance: the same samples are judged in every epoch, so half of a spread."""
    return max(LEAST_RISE, CHANCE / math.sqrt(count)) if count else LEAST_RISE_UNKNOWN


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _metric(record: RunRecord, most: _Drift) -> tuple[str, bool]:
    """Say what became of the metric meanwhile, and whether it suffered."""
    name = metric_of(record)
    before, after = most.lowest.metrics.get(name), _mean([epoch.metrics.get(name) for epoch in most.last])
    if name == "loss" or before is None or after is None:
        return "", True
    by_chance = chance(name, before, after, count=validation_count(record, name))
    harmed = by_chance is None or before - after > by_chance
    said = f"; {name.replace('_', ' ')} {numbers.share(before)} → {numbers.share(after)}"
    if after >= before:
        return f"{said}, so it is how sure the network is of its mistakes that grew", harmed
    return said + ("" if harmed else ", which may be chance"), harmed


def _mean(values: Sequence[float | None]) -> float | None:
    some = [value for value in values if value is not None]
    return mean(some) if len(some) == len(values) else None


def _advice(record: RunRecord, most: _Drift) -> Iterator[str]:
    """Say what the recipe does not do already."""
    if asked_of_phase(record, most.number, "patience") is None:
        yield "stop earlier (fewer epochs, or `patience`)"
    if not most.phase.stages or trains_beside_the_head(most.phase):
        yield "freeze more"
    task = asked(record, "task")
    if task in (None, "images") and not record.augmentation:
        yield "vary the pictures (`augment: standard`)"
    if task != "masked_text" and not asked(record, "loss", "label_smoothing"):
        yield "soften the labels (`loss.label_smoothing: 0.1`)"
    yield "more training samples help most"
