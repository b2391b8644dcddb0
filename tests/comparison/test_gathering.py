"""Runs that were made one by one, put together as arms."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from frostline.comparison import Gathered, gather
from frostline.errors import RunError
from frostline.record import ABLATION_FILE, RUNS, AblationRecord, ArmRecord, PlannedRun, write_json
from report import records

PHASE = {"epochs": 2, "freeze": "all", "lr": 0.1}


def run(folder: Path, *, seed: int = 0, freeze: Any = "all", **changes: Any) -> str:
    """Write the record of a run that never was."""
    folder.mkdir(parents=True)
    recipe = {"seed": seed, "metric": "accuracy", "phases": [PHASE | {"freeze": freeze}], "lora": None}
    made = dataclasses.replace(records.record(), name=folder.name, recipe=recipe, **changes)
    write_json(folder / "record.json", made.to_json())
    return str(folder)


def arms_of(gathered: Gathered) -> dict[str, list[tuple[str, int]]]:
    runs = gathered.record.runs
    return {arm.name: [(one.name, one.seed) for one in runs if one.arm == arm.name] for arm in gathered.record.arms}


def test_runs_that_differ_in_their_seeds_are_one_arm(tmp_path: Path) -> None:
    named = [run(tmp_path / f"held_{seed}", seed=seed) for seed in (0, 1)]
    named += [run(tmp_path / "all_trained", freeze="none")]
    gathered = gather(named)
    assert arms_of(gathered) == {"held": [("held_0", 0), ("held_1", 1)], "all_trained": [("all_trained", 0)]}
    held, trained = gathered.record.arms
    assert held.changes == ('phases.0.freeze="all"',)
    assert (held.is_baseline, trained.is_baseline) == (False, True)
    assert gathered.record.recipe["phases"] == {"0": {"epochs": 2, "lr": 0.1}}
    assert gathered.folders["held_1"] == tmp_path / "held_1"
    assert gathered.notes == ()


def test_one_says_what_counts_together(tmp_path: Path) -> None:
    paths = [run(tmp_path / name, seed=place, freeze=name) for place, name in enumerate("abc")]
    gathered = gather([f"first={paths[0]},{paths[1]}", f"second={paths[2]}"], baseline="second")
    assert arms_of(gathered) == {"first": [("a", 0), ("b", 1)], "second": [("c", 2)]}
    assert [arm.is_baseline for arm in gathered.record.arms] == [False, True]


def test_a_folder_may_have_an_equals_sign(tmp_path: Path) -> None:
    named = [run(tmp_path / "lr=0.1"), run(tmp_path / "lr=0.2", freeze="none")]
    assert list(arms_of(gather(named))) == ["lr=0.1", "lr=0.2"]


def test_an_ablation_brings_its_arms(tmp_path: Path) -> None:
    planned = [
        PlannedRun(name="a", arm="deep", seed=0, status="finished"),
        PlannedRun(name="b", arm="none", seed=0, status="finished"),
        PlannedRun(name="c", arm="none", seed=1, status="failed", failure="NaN"),
    ]
    for one in planned[:2]:
        run(tmp_path / "abl" / RUNS / one.name, freeze=one.arm)
    arms = (ArmRecord(name="deep", changes=()), ArmRecord(name="none", changes=()))
    record = AblationRecord(name="abl", recipe={}, arms=arms, runs=tuple(planned), started="")
    write_json(tmp_path / "abl" / ABLATION_FILE, record.to_json())
    gathered = gather([str(tmp_path / "abl"), run(tmp_path / "c", seed=1, freeze="other")])
    assert arms_of(gathered) == {"deep": [("a", 0)], "none": [("b", 0)], "c": [("c", 1)]}


def test_what_an_ablation_compares_stays_as_it_is(tmp_path: Path) -> None:
    """Two baselines, each for what is like it in all else."""
    arms = tuple(
        ArmRecord(name=f"{freeze}_{lr}", changes=(), over=(f"phases.0.lr={lr}",), is_baseline=freeze == "none")
        for freeze in ("none", "all")
        for lr in ("0.1", "0.2")
    )
    planned = tuple(PlannedRun(name=arm.name, arm=arm.name, seed=0, status="finished") for arm in arms)
    for arm in arms:
        run(tmp_path / "abl" / RUNS / arm.name, freeze=arm.name)
    record = AblationRecord(name="abl", recipe={}, arms=arms, runs=planned, started="")
    write_json(tmp_path / "abl" / ABLATION_FILE, record.to_json())
    assert gather([str(tmp_path / "abl")]).record.arms == arms


def test_a_run_counts_once(tmp_path: Path) -> None:
    one, other = run(tmp_path / "a"), run(tmp_path / "b", freeze="none")
    with pytest.raises(RunError, match="is named twice"):
        gather([f"x={one},{one}", other])


def test_a_name_longer_than_names_can_be(tmp_path: Path) -> None:
    one, other = run(tmp_path / "a"), run(tmp_path / "b", freeze="none")
    assert "n" * 300 in arms_of(gather([f"{'n' * 300}={one}", other]))


def test_two_runs_with_one_seed_are_told_of(tmp_path: Path) -> None:
    named = [run(tmp_path / "x" / "held"), run(tmp_path / "y" / "held"), run(tmp_path / "z", freeze="none")]
    gathered = gather(named)
    assert arms_of(gathered)["held"] == [("held", 0), ("held (2)", 1)]
    assert gathered.notes == (f"held has two runs with seed 0: {tmp_path / 'y' / 'held'} counts as one with seed 1",)


def test_runs_of_ultralytics_and_tables(tmp_path: Path) -> None:
    for name, freeze, seed in (("freeze_1_to_3", 3, 0), ("freeze_1_to_3b", 3, 1), ("none", "null", 0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.csv").write_text("epoch,metrics/mAP50(B),metrics/mAP50-95(B)\n1,0.5,0.25\n")
        (tmp_path / name / "args.yaml").write_text(f"model: m.pt\nfreeze: {freeze}\nseed: {seed}\nname: {name}\n")
    gathered = gather([str(tmp_path / name) for name in ("freeze_1_to_3", "freeze_1_to_3b", "none")])
    assert list(arms_of(gathered)) == ["freeze_1_to_3", "none"]
    assert [arm.is_baseline for arm in gathered.record.arms] == [False, True]
    assert gathered.record.recipe["metric"] == "mAP50-95"
    assert gathered.record.arms[0].changes == ("settings.freeze=3",)


def test_what_all_runs_have_is_compared(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("epoch,f1,recall\n1,0.5,0.1\n")
    (tmp_path / "b.csv").write_text("epoch,recall,kappa\n1,0.5,0.2\n")
    named = [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    assert gather(named).record.recipe["metric"] == "recall"
    assert gather(named, metric="f1").record.recipe["metric"] == "f1"
    assert gather(named, columns={"score": "recall"}).record.recipe["metric"] == "score"


@pytest.mark.parametrize("status", ["failed"])
def test_a_run_that_failed_is_not_compared(tmp_path: Path, status: str) -> None:
    named = [run(tmp_path / "a", status=status, failure="NaN"), run(tmp_path / "b", freeze="none")]
    with pytest.raises(RunError, match=r"it failed \(NaN\)"):
        gather(named)


def test_nothing_to_compare(tmp_path: Path) -> None:
    one, same = run(tmp_path / "a"), run(tmp_path / "b", seed=1)
    with pytest.raises(RunError, match="one run"):
        gather([one])
    with pytest.raises(RunError, match="differ in nothing but their seeds"):
        gather([one, same])
    with pytest.raises(RunError, match=r"no arm of that name; there are a, b"):
        gather([f"a={one}", f"b={same}"], baseline="c")
