"""The proofs of all runs: one line that cannot be misread, and a row for each run."""

import dataclasses
from pathlib import Path

from frostline.report.ablation_page import render_ablation
from frostline.report.arm_proofs import arm_proofs, proven
from frostline.report.arms import Arms

from . import records
from .html_page import Page
from .many import ablation


def with_proofs(arms: Arms, *proofs: object) -> Arms:
    """Give the runs of the first arm these proofs."""
    first = arms.results[0]
    runs = {seed: dataclasses.replace(first.runs[seed], proof=proof) for seed, proof in enumerate(proofs)}
    return Arms(arms.record, (dataclasses.replace(first, runs=runs), *arms.results[1:]))


def test_all_held(tmp_path: Path) -> None:
    arms = ablation(tmp_path)
    found = arm_proofs(arms)
    assert (found.kind, found.said) == ("held", "The freeze held in 6 of 6 runs.")
    assert [cell.said for cell in found.table.rows[0][:7]] == [
        "freeze_none",
        "0",
        "the freeze held",
        "7",
        "0",
        "1",
        "none",
    ]
    assert found.table.rows[0][7].said == records.proof()["line"]
    assert proven(arms.results[0]).said == "2 of 2 held"


def test_what_broke_is_the_first_that_a_reader_meets(tmp_path: Path) -> None:
    arms = with_proofs(ablation(tmp_path), records.proof(), records.proof(fails=(2, 5)))
    found = arm_proofs(arms)
    assert found.kind == "broken"
    assert found.said == "Did NOT hold in 1 of 6 runs; the freeze held in 5 of 6 runs."
    first = [cell.said for cell in found.table.rows[0]]
    assert first[:3] == ["freeze_none", "1", "did NOT hold"]
    assert first[6] == "held modules in eval; digests before and after"
    assert proven(arms.results[0]).said == "1 of 2 held, 1 did NOT"
    assert "Did NOT hold in 1 of 6 runs" in Page(render_ablation(arms)).text


def test_a_run_without_a_proof_is_not_proven(tmp_path: Path) -> None:
    found = arm_proofs(with_proofs(ablation(tmp_path), None, records.proof()))
    assert found.kind == "open"
    assert "Not proven in 1 of 6 runs" in found.said
    assert found.table.rows[0][7].said == "this run left no proof"


def test_no_run_at_all(tmp_path: Path) -> None:
    found = arm_proofs(ablation(tmp_path, seeds=0))
    assert (found.kind, found.said) == ("open", "No run is finished.")


def test_a_run_without_a_proof_is_not_said_to_have_moved(tmp_path: Path) -> None:
    """As runs of other trainers are."""
    arms = with_proofs(ablation(tmp_path), None, None)
    assert proven(arms.results[0]).said == "not proven"
    assert proven(with_proofs(arms, records.proof(), None).results[0]).said == "1 of 2 held"
