"""The tiles: the figure that was chosen by, whatever the run measured."""

import dataclasses

import pytest

from frostline.record import RunRecord
from frostline.report.headline import tiles

from . import records


def without_metrics() -> RunRecord:
    epochs = tuple(dataclasses.replace(epoch, metrics={}, train_metrics={}) for epoch in records.record().epochs)
    return records.record(epochs=epochs, best={"epoch": 12, "phase": 1, "metrics": {}, "by": "val loss"})


@pytest.mark.parametrize(
    ("record", "label", "value", "below"),
    [
        (records.record(), "Best validation accuracy", "0.924", "epoch 11 of 12, phase 2 · macro F1 0.901"),
        (
            records.record(best={**records.record().best, "by": "val macro F1"}),
            "Best validation macro F1",
            "0.901",
            "epoch 11 of 12, phase 2 · accuracy 0.924",
        ),
        (
            records.record(best={**records.record().best, "by": "validation accuracy"}),
            "Best validation accuracy",
            "0.924",
            "epoch 11 of 12, phase 2 · macro F1 0.901",
        ),
        (
            records.record(best={**records.record().best, "by": "last epoch"}),
            "Validation accuracy, last epoch",
            "0.924",
            "epoch 11 of 12, phase 2 · macro F1 0.901 · loss 0.3589",
        ),
        (without_metrics(), "Best validation loss", "0.3082", "epoch 12 of 12, phase 2"),
        (records.one_epoch(), "Train loss, last epoch", "1.013", "epoch 1 of 1; no validation"),
        (records.failed(), "Best epoch", "–", "no epoch was finished"),
        (records.record(best={"epoch": 99}), "Best epoch", "–", "not named"),
    ],
    ids=[
        "by accuracy",
        "by F1",
        "in full words",
        "last epoch",
        "by loss",
        "no validation",
        "no epoch",
        "an epoch that is not there",
    ],
)
def test_the_first_tile(record: RunRecord, label: str, value: str, below: str) -> None:
    first = tiles(record)[0]
    assert (first.label, first.value, first.below) == (label, value, below)


def test_a_test_set_has_its_tile_and_a_run_without_one_has_none() -> None:
    labels = [tile.label for tile in tiles(records.record())]
    assert labels == [
        "Best validation accuracy",
        "Test accuracy",
        "Trained parameters",
        "Held parameters",
        "Time",
        "Peak memory",
    ]
    assert "Test accuracy" not in [tile.label for tile in tiles(records.one_epoch())]
