"""Phases in which nothing is trained, or nothing but the head where that was not asked for."""

from collections.abc import Iterator, Mapping
from typing import Any

from frostline.record import PhaseRecord, RunRecord
from frostline.report.frost import phase_numbers
from frostline.report.listing import words
from frostline.report.numbers import exact
from frostline.report.symptoms.asked import HEAD, trains_beside_the_head
from frostline.report.symptoms.symptom import Symptom

# Words of a freeze that say how much is frozen, and do not name the head as what is left.
COUNTED = ("first", "train_first", "match", "frozen_stages")
LOOK = "`frostline outline` names the stages and layers"


def everything_frozen(record: RunRecord) -> Iterator[Symptom]:
    """Find the phases that trained nothing, or less than was asked for."""
    numbers, many = phase_numbers(record), len(record.phases) > 1
    for phase in record.phases:
        where = f" in phase {numbers[phase.index]}" if many else ""
        trained, held = _counts(record, phase)
        if not trained and held:
            yield Symptom(
                title=f"Nothing is trained{where}",
                evidence=f"0 of {exact(held)} parameters are trained under freeze {words(phase.freeze)}",
                advice=f"Freeze less: {LOOK}. In another trainer, look at what sets `requires_grad`.",
                severity="fault",
            )
        elif held and phase.stages and not trains_beside_the_head(phase) and (why := _unasked(phase.freeze, phase)):
            yield Symptom(
                title=f"Nothing but the head is trained{where}",
                evidence=f"{exact(trained)} of {exact(trained + held)} parameters are trained, all in the head; {why}",
                advice=f"Where that is what you want, `freeze: all` says it; otherwise freeze less: {LOOK}.",
                severity="sign" if phase.freeze == "none" else "note",
            )


def _counts(record: RunRecord, phase: PhaseRecord) -> tuple[int, int]:
    """Count the parameters that a phase trained and held: by its stages, or as the trainer counted them."""
    if phase.stages:
        return sum(row.trained for row in phase.stages), sum(row.held for row in phase.stages)
    counted = record.parameters.get("phases")
    place = record.phases.index(phase)
    if isinstance(counted, list | tuple) and place < len(counted) and isinstance(counted[place], Mapping):
        return int(counted[place].get("trained", 1)), int(counted[place].get("held", 0))
    return 1, 0  # nothing is known, so nothing is said


def _unasked(freeze: Any, phase: PhaseRecord) -> str:
    """Say why that the head alone is trained is not what a freeze asks for; nothing: it is, or may be."""
    if freeze == "none":
        return "the freeze is none, so the network came frozen"
    if not isinstance(freeze, Mapping):
        return ""
    counted = next((key for key in COUNTED if key in freeze), None)
    if counted is not None:
        return f"the freeze, {words({counted: freeze[counted]})}, reaches all the rest"
    body = [row.stage for row in phase.stages if row.stage != HEAD and row.held]
    if "through" in freeze and body and freeze["through"] in body[:-1]:
        return f"the freeze ends with {freeze['through']}, and what follows came frozen"
    return ""
