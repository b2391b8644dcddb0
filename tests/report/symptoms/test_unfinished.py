"""A run that ended while it was still learning: only where all that was measured says so."""

from typing import Any

import pytest

from .runs import only, run, titles

TITLE = "It ended while it was still learning"
STEEP = [1.3 * 0.88**epoch for epoch in range(8)]
RISING = [0.3, 0.37, 0.44, 0.5, 0.56, 0.62, 0.68, 0.74]


def test_steep_to_the_end() -> None:
    symptom = only(run({"train": STEEP, "val": STEEP, "accuracy": RISING}))
    assert (symptom.title, symptom.severity) == (TITLE, "note")
    assert "accuracy 0.560 → 0.740" in symptom.evidence
    assert f"train loss {STEEP[4]:.4g} → {STEEP[7]:.4g}" in symptom.evidence
    assert "`phases.0.epochs`; `patience` ends them" in symptom.advice


def test_by_the_loss_alone() -> None:
    by_loss = {"metric": "loss", "patience": 3}
    assert "`patience`" not in only(run({"train": STEEP, "val": STEEP}, recipe=by_loss)).advice


@pytest.mark.parametrize(
    ("curve", "changes"),
    [
        ({"train": STEEP[:5], "val": STEEP[:5], "accuracy": RISING[:5]}, {}),
        ({"train": STEEP, "val": [*STEEP[:7], STEEP[6]], "accuracy": RISING}, {}),
        ({"train": [*STEEP[:7], STEEP[6]], "val": STEEP, "accuracy": RISING}, {}),
        ({"train": STEEP, "val": STEEP, "accuracy": [*RISING[:4], 0.74, 0.74, 0.74, 0.75]}, {}),
        ({"train": STEEP, "val": STEEP, "accuracy": RISING}, {"val": 30}),
        ({"train": STEEP, "val": STEEP, "accuracy": RISING}, {"phases": [{"stopped_early": True}]}),
        ({"train": STEEP, "val": STEEP, "accuracy": RISING}, {"status": "failed", "failure": "stopped by hand"}),
        ({"train": STEEP}, {}),
        ({"train": STEEP, "val": STEEP}, {}),
    ],
    ids=["short", "validation settles", "train settles", "metric settles", "few samples", "patience", "failed",
         "no validation", "no metric"],
)  # fmt: skip
def test_where_that_is_not_known(curve: dict[str, list[float]], changes: dict[str, Any]) -> None:
    assert titles(run(curve, **changes)) == []
