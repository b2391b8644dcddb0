"""What the recipe of a record asks for, where it has one: the trainers of others write what they like."""

from collections.abc import Iterable
from typing import Any

from frostline.record import PhaseRecord, RunRecord

HEAD = "head"


def asked(record: RunRecord, *keys: str | int) -> Any:
    """Give what stands in a recipe under keys, one below the other; None: nothing does."""
    found: Any = record.recipe
    for key in keys:
        if isinstance(found, dict):
            found = found.get(key)
        elif isinstance(found, list | tuple) and isinstance(key, int) and key < len(found):
            found = found[key]
        else:
            return None
    return found


def asked_of_phase(record: RunRecord, number: int, key: str) -> Any:
    """Give what a recipe asks of a phase, counted from 1: in its own words, or in those for all phases."""
    own = asked(record, "phases", number - 1, key)
    return asked(record, key) if own is None else own


def metric_of(record: RunRecord) -> str:
    """Name the metric by which a run chose its best epoch."""
    named = asked(record, "metric")
    if isinstance(named, str):
        return named
    by = str(record.best.get("by") or "").removeprefix("validation ").removeprefix("val ")
    measured = dict.fromkeys(name for epoch in record.epochs for name in epoch.metrics)
    return by if by in measured else next(iter(measured), "loss")


def trains_beside_the_head(phase: PhaseRecord) -> bool:
    """Whether a phase trains something that could be frozen."""
    return any(row.trained for row in phase.stages if row.stage != HEAD)


def listed(parts: Iterable[str]) -> str:
    """Put pieces of advice into one sentence.

    >>> listed(["lower the rate", "stop earlier"])
    'Lower the rate; stop earlier.'
    """
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""
