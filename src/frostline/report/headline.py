"""The first lines of the page: the main figures of a run as tiles."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from frostline.record import EpochRecord, RunRecord
from frostline.report.frost import Bar, frost_map, phase_numbers
from frostline.report.numbers import NONE, count, duration, loss, memory, percent, perplexity, share


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One figure: what it is, its value, and a line below."""

    label: str
    value: str
    below: str = ""
    kind: str = "plain"


def tiles(record: RunRecord) -> tuple[Tile, ...]:
    """Choose the main figures: best metric, test metrics, parameters, time, memory."""
    bars = frost_map(record)
    tests = [evaluation for evaluation in record.evaluations if evaluation.split == "test"]
    total = record.seconds.get("total")
    epochs = len(record.epochs)
    each = f", {duration(sum(epoch.seconds for epoch in record.epochs) / epochs)} each" if epochs else ""
    return (
        _best(record),
        *(
            _main(f"Test {{}}{f' ({number})' * (len(tests) > 1)}", test.metrics, test.loss, f"{test.samples:,} samples")
            for number, test in enumerate(tests, start=1)
        ),
        *_perplexity(record),
        _parameters("Trained parameters", [bar.trained for bar in bars], bars, kind="trained"),
        _parameters("Held parameters", [bar.held for bar in bars], bars, kind="held"),
        Tile(label="Time", value=duration(total), below=f"{epochs} epoch{'s' * (epochs != 1)}{each}"),
        Tile(label="Peak memory", value=memory(record.peak_rss_mb), below="of the process"),
    )


def _perplexity(record: RunRecord) -> tuple[Tile, ...]:
    """Say among how many words the network was in doubt, where it has learned words and no classes."""
    judged = next((one for one in reversed(record.evaluations) if math.isfinite(one.loss)), None)
    if record.classes or judged is None:
        return ()
    return (
        Tile(label=f"Perplexity ({judged.split})", value=loss(perplexity(judged.loss)), below="of the masked words"),
    )


def _best(record: RunRecord) -> Tile:
    """The best validation metric, or what comes nearest to it where there is no validation."""
    number = record.best.get("epoch")
    at = next((epoch for epoch in record.epochs if epoch.epoch == number), None)
    if at is None:
        return Tile(label="Best epoch", value=NONE, below="no epoch was finished" if not record.epochs else "not named")
    metrics: Mapping[str, float] = record.best.get("metrics") or at.metrics
    by = str(record.best.get("by") or "last epoch")
    name = by if by in metrics else by.removeprefix("validation ").removeprefix("val ")
    where = f"epoch {at.epoch} of {len(record.epochs)}{_phase(record, at)}"
    if name in metrics:
        others = {other: value for other, value in metrics.items() if other != name}
        return Tile(label=f"Best validation {name}", value=share(metrics[name]), below=_below(where, others, None))
    if name == "loss" and at.val_loss is not None:
        return Tile(label="Best validation loss", value=loss(at.val_loss), below=_below(where, metrics, None))
    which = "last epoch" if by == "last epoch" else f"best epoch by {by}"
    if metrics:
        return _main(f"Validation {{}}, {which}", metrics, at.val_loss, where)
    if at.val_loss is not None:
        return Tile(label=f"Validation loss, {which}", value=loss(at.val_loss), below=where)
    return Tile(label=f"Train loss, {which}", value=loss(at.train_loss), below=f"{where}; no validation")


def _phase(record: RunRecord, epoch: EpochRecord) -> str:
    number = phase_numbers(record).get(epoch.phase)
    return f", phase {number}" if number is not None and len(record.phases) > 1 else ""


def _main(label: str, metrics: Mapping[str, float], loss_value: float | None, where: str) -> Tile:
    """Show the first metric large and the others small; the loss where there is no metric."""
    if not metrics:
        return Tile(label=label.replace("{}", "loss"), value=loss(loss_value), below=where)
    (name, value), *others = metrics.items()
    return Tile(label=label.replace("{}", name), value=share(value), below=_below(where, dict(others), loss_value))


def _below(where: str, metrics: Mapping[str, float], loss_value: float | None) -> str:
    parts = [f"{name} {share(value)}" for name, value in metrics.items()]
    return " · ".join([where, *parts, *([f"loss {loss(loss_value)}"] if loss_value is not None else [])])


def _parameters(label: str, numbers: list[int], bars: Iterable[Bar], *, kind: str) -> Tile:
    """One number, or one for each phase where they differ."""
    if not numbers:
        return Tile(label=label, value=NONE, below="no phase was begun", kind=kind)
    shares = [percent(number, bar.trained + bar.held) for number, bar in zip(numbers, bars, strict=True)]
    if len(set(numbers)) == 1:
        return Tile(label=label, value=count(numbers[0]), below=f"{shares[0]} of the network", kind=kind)
    return Tile(
        label=label,
        value=f"{count(numbers[0])} → {count(numbers[-1])}",
        below=f"phase 1 to {len(numbers)}; {shares[0]} → {shares[-1]} of the network",
        kind=kind,
    )
