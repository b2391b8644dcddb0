"""Norm layers of held parts: a fault where they are in train mode, a note where that was asked for."""

import dataclasses

import pytest

from frostline.record import Claim, StageRow

from .. import records
from .runs import only, run, titles

FLAT = {"train": [1.0, 0.8], "val": [1.0, 0.9], "accuracy": [0.6, 0.7]}
MOVING = tuple(
    dataclasses.replace(row, norm_eval=0, norm_train=2) if row.stage in ("stem", "stage1") else row
    for row in records.rows(3)
)


def test_a_fault_with_the_stages_named() -> None:
    symptom = only(run(FLAT, phases=[{"stages": MOVING}]))
    assert symptom.severity == "fault"
    assert symptom.evidence.endswith("2 in stem, 2 in stage1")
    assert "as you asked" not in symptom.title


def test_the_phase_is_named_where_there_are_several() -> None:
    made = run(FLAT, FLAT, phases=[{}, {"stages": MOVING}])
    assert "phase 2: 2 in stem, 2 in stage1" in only(made).evidence


@pytest.mark.parametrize(
    ("phase", "recipe"),
    [
        ({"stages": MOVING}, {"norm": "train"}),
        ({"stages": MOVING, "freeze": {"through": "stage2", "norm": "train"}}, {}),
    ],
    ids=["in the recipe", "in the freeze of another trainer"],
)
def test_what_was_asked_for_is_a_note(phase: dict[str, object], recipe: dict[str, object]) -> None:
    symptom = only(run(FLAT, phases=[phase], recipe=recipe))
    assert (symptom.severity, symptom.title.endswith("as you asked")) == ("note", True)


def test_the_choice_that_the_proof_speaks_of() -> None:
    evidence = {"summary": "3 held modules in eval", "modules": 3, "norm_eval": 1, "norm_train_by_choice": 2}
    proof = {**records.proof(), "claims": [dataclasses.asdict(Claim(name="m", status="holds", evidence=evidence))]}
    symptom = only(run(FLAT, proof=proof))
    assert "`norm: train`; 2 of them" in symptom.evidence
    assert symptom.severity == "note"


def test_the_claim_of_modes_that_fails() -> None:
    symptom = only(run(FLAT, proof=records.proof(fails=(2,))))
    assert symptom.title == "Frozen parts do not stay in eval mode"
    assert records.SUMMARIES[2] in symptom.evidence


def test_what_the_failure_says_already_is_not_said_again() -> None:
    assert titles(run(FLAT, proof=records.proof(fails=(2,)), failure=f"ProofError: {records.SUMMARIES[2]}")) == []


@pytest.mark.parametrize("fails", [(), (0,), (5,)])
def test_other_claims_are_no_matter_of_norms(fails: tuple[int, ...]) -> None:
    assert titles(run(FLAT, proof=records.proof(fails=fails))) == []


def test_a_stage_that_is_partly_trained_may_have_norms_in_train() -> None:
    split = StageRow(stage="stage1", trained=10, held=90, norm_eval=1, norm_train=1)
    assert titles(run(FLAT, phases=[{"stages": (split, *records.rows(3))}])) == []


def test_an_asked_for_choice_that_reaches_nothing_is_not_spoken_of() -> None:
    assert titles(run(FLAT, recipe={"norm": "train"})) == []
