"""A learning rate that is too high: a train loss that is no number, rises, jumps to and fro, or stays above chance."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from frostline.errors import first_of
from frostline.record import RunRecord
from frostline.report import numbers
from frostline.report.symptoms.asked import asked, asked_of_phase, listed
from frostline.report.symptoms.noise import CHANCE
from frostline.report.symptoms.symptom import Symptom

# Of the loss of who knows nothing: what a loss must rise by, from its lowest epoch to the last, or from one epoch to
# the next. In 70 phases of good runs of this project (pictures and texts, 2 to 60 epochs) the largest rise was 0.07.
LEAST_RISE = 0.2
# So many rises in one phase are no accident: a single one may be an odd batch.
LEAST_RISES = 2
# Of the loss of who knows nothing: nobody who has learned for two epochs is so far above it. In the same phases the
# better of the first two epochs had 1.02 at most.
ABOVE_CHANCE = 1.5
# The same where the loss falls from epoch to epoch, as it does from a new head that began badly, though not so far off.
FAR_ABOVE_CHANCE = 5.0
# The same of all epochs, where there are four or more: whoever learns anything is below 1 by then.
NEVER_BELOW = 1.2
NEVER_BELOW_EPOCHS = 4
# Schedules under which the rate itself rises within a phase, and the loss with it.
RESTARTING = ("cosine_restarts", "one_cycle")
NAMED = 3


@dataclass(frozen=True, kw_only=True)
class _Loss:
    """The train loss of one epoch."""

    epoch: int
    value: float

    def __str__(self) -> str:
        return f"{numbers.loss(self.value)} (epoch {self.epoch})"


def too_high(record: RunRecord) -> Iterator[Symptom]:
    """Find the phases whose train loss shows that the rate was too high."""
    found, lost = {}, False
    for number, phase in enumerate(record.phases, start=1):
        losses = [_Loss(epoch=one.epoch, value=one.train_loss) for one in record.epochs if one.phase == phase.index]
        shown = _shown(record, losses, restarts=_schedule(record, number) in RESTARTING)
        if shown:
            where = f"phase {number}, " if len(record.phases) > 1 else ""
            found[number] = f"{where}rate {numbers.loss(phase.lr)}: {shown}"
            lost = lost or not all(math.isfinite(one.value) for one in losses)
    if found:
        yield Symptom(
            title="The rate looks too high",
            evidence="; ".join(found.values()),
            advice=listed(_advice(record, list(found))),
            severity="fault" if lost else "sign",
        )


def _shown(record: RunRecord, losses: Sequence[_Loss], *, restarts: bool) -> str:
    """Say what the train losses of a phase show; nothing: they went as losses go."""
    odd = next((one for one in losses if not math.isfinite(one.value)), None)
    if odd is not None and any(word in (record.failure or "") for word in ("loss", "rate")):
        return ""  # the page begins with it, and with what to do
    if odd is not None:
        return f"the train loss of epoch {odd.epoch} is {numbers.odd(odd.value)}"
    if len(losses) < 2 or losses[0].value <= 0:
        return ""
    chance = _chance(record)
    # An epoch's train loss is a mean over its samples, of which single ones are drawn, mixed and dropped at random.
    by_chance = CHANCE / math.sqrt(max(record.samples.get("train", 0), 1))

    def is_rise(low: _Loss, high: _Loss) -> bool:
        return high.value - low.value > max(LEAST_RISE * (chance or losses[0].value), by_chance * high.value)

    lowest, last = min(losses[:-1], key=lambda one: one.value), losses[-1]
    rises = [f"{low} → {high}" for low, high in pairwise(losses) if is_rise(low, high)]
    if is_rise(lowest, last) and not restarts:
        return f"the train loss rose, {lowest} → {last}"
    if len(rises) >= LEAST_RISES and not restarts:
        return f"the train loss rose again and again: {first_of(rises, most=NAMED)}"
    if chance is None:
        return ""
    nothing = f"who knows nothing of {len(record.classes)} classes has {numbers.loss(chance)}"
    falls = all(high.value > low.value for high, low in pairwise(losses))
    if min(one.value for one in losses[:2]) > (FAR_ABOVE_CHANCE if falls else ABOVE_CHANCE) * chance:
        return f"the train loss was {losses[0]} and {losses[1]}; {nothing}"
    least = min(losses, key=lambda one: one.value)
    if len(losses) >= NEVER_BELOW_EPOCHS and not falls and least.value > NEVER_BELOW * chance:
        return f"the train loss was never below {least}; {nothing}"
    return ""


def _chance(record: RunRecord) -> float | None:
    """Give the loss of who calls all classes equally likely; None: there are none, or a teacher counts in the loss."""
    if len(record.classes) < 2 or asked(record, "distill") or record.teacher:
        return None
    return math.log(len(record.classes))


def _schedule(record: RunRecord, number: int) -> str:
    schedule = asked_of_phase(record, number, "schedule")
    return str(schedule.get("name")) if isinstance(schedule, dict) else str(schedule)


def _advice(record: RunRecord, phases: Sequence[int]) -> Iterator[str]:
    """Say what the recipe does not do already."""
    yield f"a third of the rate, and a third of that where it does not help ({_keys(phases, 'lr')})"
    if not any(asked_of_phase(record, number, "warmup") for number in phases):
        yield f"a warm-up (1 epoch: {_keys(phases, 'warmup')})"
    if asked(record, "clip_norm") is None:
        yield "smaller steps where gradients are large (`clip_norm: 1`)"


def _keys(phases: Sequence[int], key: str) -> str:
    return ", ".join(f"`phases.{number - 1}.{key}`" for number in phases)
