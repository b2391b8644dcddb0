"""A later phase that is worse than an earlier one, by more than chance."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from frostline.record import EpochRecord, PhaseRecord, RunRecord
from frostline.report import numbers
from frostline.report.frost import phase_numbers
from frostline.report.symptoms.asked import asked_of_phase, listed, metric_of
from frostline.report.symptoms.noise import chance, validation_count
from frostline.report.symptoms.symptom import Symptom


@dataclass(frozen=True, kw_only=True)
class _Phase:
    """One phase: its number from 1, and (epoch, metric) of each epoch that was judged; `best` is one of them."""

    number: int
    phase: PhaseRecord
    judged: tuple[tuple[int, float], ...]
    best: tuple[int, float]


def worse_phase(record: RunRecord) -> Iterator[Symptom]:
    """Find the phase that falls farthest behind the best of the phases before it."""
    metric = metric_of(record)
    count = validation_count(record, metric)
    sign = -1.0 if metric == "loss" else 1.0
    phases = _judged(record, metric, sign)
    found: list[tuple[float, _Phase, _Phase, float]] = []
    for place, one in enumerate(phases[1:], start=1):
        before = max(phases[:place], key=lambda other: sign * other.best[1])
        by_chance = chance(metric, before.best[1], one.best[1], count=count)
        gap = sign * (before.best[1] - one.best[1])
        if by_chance is not None and gap > by_chance:
            found.append((gap, one, before, by_chance))
    if not found:
        return
    gap, one, before, by_chance = max(found, key=lambda item: item[0])
    previous = phases[phases.index(one) - 1]
    say = numbers.loss if metric == "loss" else numbers.share
    name = metric.replace("_", " ")
    start = before.best if one.phase.start_from == "best" else previous.judged[-1]
    fell = sign * (start[1] - one.judged[0][1]) > by_chance
    from_last = one.phase.start_from != "best" and sign * (before.best[1] - start[1]) > by_chance
    evidence = (
        f"best validation {name} {say(before.best[1])} in phase {before.number} (epoch {before.best[0]}) and "
        f"{say(one.best[1])} in phase {one.number} (epoch {one.best[0]}): {say(gap)} "
        f"{'more' if metric == 'loss' else 'less'}, where {say(by_chance)} may be chance (two standard errors of a "
        f"difference on {record.samples.get('val', 0):,} samples)"
    )
    if from_last:
        evidence += f"; it began with the weights of epoch {start[0]} ({say(start[1])}), which were not the best"
    if fell:
        evidence += f"; it fell in its first epoch, from {say(start[1])} to {say(one.judged[0][1])}"
    others = [str(other.number) for _, other, _, _ in found if other is not one]
    if others:
        evidence += f"; so did phase{'s' * (len(others) > 1)} {', '.join(others)}"
    yield Symptom(
        title=f"Phase {one.number} is worse than phase {before.number}",
        evidence=evidence,
        advice=listed(_advice(record, one, fell=fell, from_last=from_last)),
    )


def _advice(record: RunRecord, one: _Phase, *, fell: bool, from_last: bool) -> Iterator[str]:
    place = f"phases.{one.number - 1}"
    if from_last:
        yield f"`{place}.start_from: best` lets it begin with the best epoch"
    if fell or not from_last:
        yield f"a lower rate: `{place}.lr` is {numbers.loss(one.phase.lr)}"
        warmup = asked_of_phase(record, one.number, "warmup")
        yield f"a longer warm-up than {warmup}" if warmup else f"a warm-up (`{place}.warmup: 1`)"
    if fell and one.best[0] == one.judged[-1][0] and len(one.judged) > 1 and not one.phase.stopped_early:
        yield "more epochs, for it was still getting better"
    if not fell and not from_last:
        yield "freeze more in it, or leave it out"


def _judged(record: RunRecord, metric: str, sign: float) -> list[_Phase]:
    """Collect the phases that came to their end and were judged."""
    index_numbers = phase_numbers(record)
    every = []
    for phase in record.phases:
        values = [
            (epoch.epoch, value)
            for epoch in record.epochs
            if epoch.phase == phase.index and (value := _value(epoch, metric)) is not None
        ]
        if values:
            best = max(values, key=lambda item: sign * item[1])
            number = index_numbers[phase.index]
            every.append(_Phase(number=number, phase=phase, judged=tuple(values), best=best))
    return every


def _value(epoch: EpochRecord, metric: str) -> float | None:
    value = epoch.val_loss if metric == "loss" else epoch.metrics.get(metric)
    return value if value is not None and math.isfinite(value) else None
