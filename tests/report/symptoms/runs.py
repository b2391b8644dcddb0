"""Records of runs by their curves, for the tests of symptoms."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from frostline.record import EpochRecord, PhaseRecord, RunRecord
from frostline.report.symptoms import Symptom, symptoms_of

from .. import records

CLASSES = ("a", "b", "c", "d")  # log(4) = 1.386


def run(
    *curves: dict[str, Sequence[float]], val: int = 400, phases: Sequence[dict[str, Any]] = (), **changes: Any
) -> RunRecord:
    """Make a record of one phase for each curve, of 1,000 training samples.

    Args:
        curves: `train`, and perhaps `val` (losses) and `accuracy`, a number for each epoch.
        val: the number of validation samples.
        phases: what is changed in each phase's record.
        changes: what is changed in the run's.
    """
    epochs: list[EpochRecord] = []
    made: list[PhaseRecord] = []
    for place, curve in enumerate(curves):
        for number, loss in enumerate(curve["train"]):
            metrics = {"accuracy": curve["accuracy"][number]} if "accuracy" in curve else {}
            epochs.append(
                EpochRecord(
                    epoch=len(epochs) + 1,
                    phase=place + 1,
                    train_loss=loss,
                    val_loss=curve["val"][number] if "val" in curve else None,
                    lr=1e-3,
                    seconds=1.0,
                    metrics=metrics,
                )
            )
        length = len(curve["train"])
        phase = PhaseRecord(
            index=place + 1, freeze={"through": "stage2"}, lr=1e-3, epochs_asked=length, epochs_done=length,
            start_from="last", stages=records.rows(3),
        )  # fmt: skip
        made.append(dataclasses.replace(phase, **(phases[place] if place < len(phases) else {})))
    return records.record(
        classes=changes.pop("classes", CLASSES),
        epochs=tuple(epochs),
        phases=tuple(made),
        samples={"train": 1000, "val": val, "test": 0},
        evaluations=changes.pop("evaluations", ()),
        best={"epoch": 1, "phase": 1, "metrics": {}, "by": "validation accuracy"},
        recipe=changes.pop("recipe", {"task": "images", "metric": "accuracy"}),
        augmentation=changes.pop("augmentation", ()),
        **changes,
    )


def titles(record: RunRecord) -> list[str]:
    """The titles of all symptoms of a run."""
    return [symptom.title for symptom in symptoms_of(record)]


def only(record: RunRecord) -> Symptom:
    """The one symptom of a run."""
    (symptom,) = symptoms_of(record)
    return symptom
