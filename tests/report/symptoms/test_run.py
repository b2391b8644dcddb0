"""All symptoms together: healthy runs have none, odd ones break nothing, and faults stand first."""

import dataclasses
import math
import random
from pathlib import Path
from typing import Any

import pytest

from frostline.record import RECORD_FILE, RunRecord, write_json
from frostline.report.symptoms import symptoms_in, symptoms_of

from .. import records
from .runs import run, titles

STEPS = [1.2, 0.9, 0.75, 0.66, 0.6]
JUDGED = {"val": [1.1, 0.95, 0.85, 0.86, 0.84], "accuracy": [0.5, 0.6, 0.65, 0.63, 0.66]}


def short(epochs: int, **changes: Any) -> RunRecord:
    return run({name: values[:epochs] for name, values in {"train": STEPS, **JUDGED}.items()}, **changes)


HEALTHY = {
    "good": records.record(),
    "hundred classes": records.hundred_classes(),
    "one epoch": records.one_epoch(),
    "failed": records.failed(),
    "unbroken names": records.unbroken(),
    **{f"{epochs} epochs": short(epochs) for epochs in (1, 2, 3, 5)},
    "30 samples": short(5, val=30),
    "texts": short(4, recipe={"task": "text", "metric": "accuracy"}),
    "masked words": run(
        {"train": [6.0, 5.2, 4.9, 4.7], "val": [5.4, 5.0, 4.9, 4.95], "accuracy": [0.1, 0.14, 0.15, 0.15]},
        classes=(), recipe={"task": "masked_text", "metric": "loss"},
    ),
    "the loss as metric": short(5, recipe={"task": "images", "metric": "loss"}),
    "no validation": run({"train": STEPS}),
    "a metric that is no number": run({"train": STEPS, "val": STEPS, "accuracy": [math.nan] * 5}),
    "validation that is no number": run({"train": STEPS, "val": [math.nan] * 5, "accuracy": [0.5] * 5}),
    "stopped by hand": dataclasses.replace(short(3), phases=(), status="failed", failure="stopped by hand"),
    "nothing recorded": dataclasses.replace(records.failed(), samples={}, recipe={}, status="finished"),
}  # fmt: skip


@pytest.mark.parametrize("record", HEALTHY.values(), ids=HEALTHY.keys())
def test_a_healthy_run_has_no_symptom(record: RunRecord) -> None:
    assert titles(record) == []


def test_noisy_curves_of_small_validation_sets_have_no_symptom() -> None:
    """Runs that learn as runs do, judged on 30 samples: shares are drawn, losses scatter with them."""
    draw, found = random.Random(1), 0
    for _ in range(300):
        phases = []
        for place in range(2):
            right = [min(0.9, 0.5 + 0.2 * place + 0.1 * epoch) for epoch in range(4)]
            shares = [sum(draw.random() < share for _ in range(30)) / 30 for share in right]
            val = [1.3 * (1 - share) * draw.uniform(0.8, 1.25) + 0.15 for share in shares]
            train = [1.2 * (1 - share) * draw.uniform(0.9, 1.1) + 0.1 for share in right]
            phases.append({"train": train, "val": val, "accuracy": shares})
        found += bool(titles(run(*phases, val=30)))
    assert found <= 6


@pytest.mark.parametrize("make", records.EVERY.values(), ids=records.EVERY.keys())
def test_whatever_a_record_holds_it_is_looked_at(make) -> None:
    for symptom in symptoms_of(make()):
        assert symptom.title
        assert symptom.evidence
        assert symptom.advice


def test_faults_stand_first_and_notes_last() -> None:
    ill = run(
        {"train": [1.2, 0.6, 0.4, 0.3, 0.25, 0.2], "val": [0.8, 0.7, 0.8, 1.0, 1.1, 1.2], "accuracy": [0.7] * 6},
        phases=[{"stages": records.rows(6)}],
        evaluations=(records.evaluation("test", ((20, 0), (20, 0))),),
        classes=("a", "b"),
    )
    assert [symptom.severity for symptom in symptoms_of(ill)] == ["fault", "sign", "note"]


def test_the_folder_of_a_run(tmp_path: Path) -> None:
    ill = records.record(evaluations=(records.evaluation("test", ((20, 0, 0), (20, 0, 0), (20, 0, 0))),))
    write_json(tmp_path / RECORD_FILE, ill.to_json())
    assert symptoms_in(tmp_path) == symptoms_of(ill)
    assert [symptom.title for symptom in symptoms_of(ill)] == ["One class takes everything"]
