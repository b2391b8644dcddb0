"""Resume: a run that was interrupted anywhere goes on to the same bits; with another recipe it says what it took up."""

import csv
import json
import multiprocessing
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from frostline.errors import NonFiniteLossError, RunError
from frostline.recipe import Recipe, assemble, check_free, finetune, load_recipe
from frostline.recipe.interrupted import Interrupted
from frostline.record import EpochRecord, RunRecord, read_record
from frostline.training import Silent, read_snapshot
from training.tiny import tiny_recipe, write_pictures, write_recipe

PHASES = [
    {"epochs": 3, "freeze": "all", "lr": 0.05},
    {"epochs": 2, "freeze": {"through": "stem"}, "lr": 0.02, "start_from": "best"},
    {"epochs": 3, "freeze": "none", "lr": 0.01},
]
EPOCHS = 8
KEYS: dict[str, dict[str, Any]] = {
    "replayed": {"replay": {"dir": "store"}},
    "computed": {"replay": "off", "head": "few_shot"},  # with a dropout in it
    "augmented, adamw, one cycle": {
        "replay": "off", "augment": "light", "head": "few_shot", "optimizer": "adamw", "schedule": "one_cycle",
        "sampling": "balanced",
    },
    "workers, restarts, patience": {
        "replay": "off", "patience": 2, "schedule": {"name": "cosine_restarts", "first_epochs": 1}, "clip_norm": 0.5,
        "ema": 0.9, "accumulate": 2, "head": "few_shot",
        "data": {"train": "photos", "val": 0.25, "size": 16, "workers": 2},
    },
    "adapters, with dropout": {"replay": "off", "lora": {"kind": "dora", "rank": 2, "dropout": 0.2}},
}  # fmt: skip


def recipe_of(folder: Path, keys: dict[str, Any]) -> Recipe:
    keys = json.loads(json.dumps(keys).replace('"store"', json.dumps(str(folder / "store"))))
    return tiny_recipe(folder, phases=PHASES, **keys)


class Stops(Silent):
    """Stops the training after an epoch, as Ctrl-C does."""

    def __init__(self, after: int) -> None:
        self._after = after

    def epoch(self, record: EpochRecord) -> None:
        if record.epoch == self._after:
            raise KeyboardInterrupt


def same(one: Path, other: Path) -> None:
    """Compare weights, metrics and proof of two runs, to the bit."""
    records = [read_record(run) for run in (one, other)]
    for name in ("best", "last"):
        bits = [(run / f"checkpoints/{name}.safetensors").read_bytes() for run in (one, other)]
        assert bits[0] == bits[1], name
    epochs = [[replace(epoch, seconds=0.0) for epoch in record.epochs] for record in records]
    assert epochs[0] == epochs[1]
    for key in ("evaluations", "best", "proof", "digests", "status", "parameters"):
        assert getattr(records[0], key) == getattr(records[1], key), key
    plain = [[replace(phase, replay=()) for phase in record.phases] for record in records]
    assert plain[0] == plain[1]


def whole(folder: Path, keys: dict[str, Any]) -> tuple[Recipe, Path]:
    recipe = recipe_of(folder, keys)
    finetune(recipe, out=folder / "whole")
    return recipe, folder / "whole"


@pytest.mark.recipe
@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS.keys())
def test_a_run_that_was_stopped_after_any_epoch_goes_on_to_the_same_bits(keys: dict[str, Any], tmp_path: Path) -> None:
    recipe, expected = whole(tmp_path, keys)
    for after in range(1, len(read_record(expected).epochs) + 1):
        run = tmp_path / f"stopped after {after}"
        with pytest.raises(KeyboardInterrupt):
            finetune(recipe, out=run, save_seconds=0, show=Stops(after))
        assert read_record(run).status == "failed"
        finetune(recipe, out=run, resume=True)
        same(run, expected)
        assert not (run / "checkpoints/resume.safetensors").exists()


@pytest.mark.recipe
def test_a_run_may_be_stopped_again_and_again(tmp_path: Path) -> None:
    recipe, expected = whole(tmp_path, KEYS["computed"])
    for after in range(1, EPOCHS + 1):
        with pytest.raises(KeyboardInterrupt):
            finetune(recipe, out=tmp_path / "run", resume=True, save_seconds=0, show=Stops(after))
        assert [epoch.epoch for epoch in read_record(tmp_path / "run").epochs] == list(range(1, after + 1))
    record = finetune(recipe, out=tmp_path / "run", resume=True)
    same(tmp_path / "run", expected)
    with (tmp_path / "run/metrics.csv").open(newline="") as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == list(range(1, EPOCHS + 1))
    assert record.seconds["total"] >= sum(epoch.seconds for epoch in record.epochs)


def _train(recipe_file: str, out: str) -> None:
    torch.set_num_threads(1)
    finetune(load_recipe(recipe_file), out=Path(out), resume=True, save_seconds=0)
    os._exit(0)


KILLS = int(os.environ.get("FROSTLINE_KILLS", "10"))  # of each


@pytest.mark.recipe
@pytest.mark.parametrize("name", ["replayed", "computed"])
def test_killed_at_random_moments_a_run_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    recipe_of(tmp_path, KEYS[name])
    started = multiprocessing.get_context("forkserver")
    started.set_forkserver_preload(["frostline.recipe.run", "torch.utils.tensorboard.writer"])

    def child(out: str) -> Any:
        process = started.Process(target=_train, args=(str(tmp_path / "tiny.yaml"), str(tmp_path / out)))
        process.start()
        return process

    child("warm").join()  # what is imported once
    begun = time.monotonic()
    whole_run = child("whole")
    whole_run.join()
    seconds = time.monotonic() - begun
    assert whole_run.exitcode == 0
    chance = random.Random(name)
    places = []
    for number in range(KILLS):
        out = f"killed {number}"
        process = child(out)
        moment = chance.uniform(0, seconds)
        if number % 2:  # of these surely some while it trains, however long it takes to begin on a busy machine
            while process.is_alive() and read_snapshot(tmp_path / out) is None:
                time.sleep(0.001)
            moment /= 10
        process.join(moment)
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        snapshot = read_snapshot(tmp_path / out)
        places.append(None if snapshot is None else len(snapshot.beside.words["epochs"]))
        again = child(out)
        again.join()
        assert again.exitcode == 0
        same(tmp_path / out, tmp_path / "whole")
    assert any(place is not None and 0 < place < EPOCHS for place in places), places


@pytest.mark.recipe
def test_what_is_finished_is_not_trained_again(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    record = finetune(recipe, out=tmp_path / "run", resume=True)  # nothing is there: it begins
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()}
    said: list[str] = []
    assert finetune(recipe, out=tmp_path / "run", resume=True, warn=said.extend) == record
    assert said[0].startswith(f"{tmp_path / 'run'} is finished already: nothing was trained")
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()}


@pytest.mark.recipe
def test_what_is_finished_with_another_file_of_the_network_is_not_taken_for_this_one(tmp_path: Path) -> None:
    finetune(tiny_recipe(tmp_path, "phases.0.epochs=1"), out=tmp_path / "run")
    recipe = tiny_recipe(tmp_path, "phases.0.epochs=1", network="def between(self, x):\n    return 2 * x")
    with pytest.raises(RunError, match="another run is finished there: the file of the network differ"):
        finetune(recipe, out=tmp_path / "run", resume=True)


@pytest.mark.recipe
def test_the_record_of_a_life_with_other_classes_is_gone_before_the_next_one_trains(tmp_path: Path) -> None:
    stopped(tmp_path)
    run = tmp_path / "run"
    assert (run / "record.json").is_file()
    (tmp_path / "photos/blue").rename(tmp_path / "photos/violet")
    recipe = load_recipe(str(tmp_path / "tiny.yaml"))
    there: list[bool] = []

    class Looks(Silent):
        def epoch(self, record: EpochRecord) -> None:
            there.extend((run / name).exists() for name in ("record.json", "proof.json", "report.html"))

    assert finetune(recipe, out=run, resume=True, show=Looks()).classes == ("green", "red", "violet")
    assert there
    assert not any(there)


def test_a_folder_of_something_else_is_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RunError, match="something is there already"):
        finetune(tiny_recipe(tmp_path), out=tmp_path, resume=True)


def stopped(folder: Path, *, after: int = 2, **keys: Any) -> Path:
    phases = [{"epochs": 4, "freeze": {"through": "stage1"}, "lr": 0.05}]
    with pytest.raises(KeyboardInterrupt):
        finetune(
            tiny_recipe(folder, phases=phases, replay="off", **keys),
            out=folder / "run",
            save_seconds=0,
            show=Stops(after),
        )
    return folder / "run"


def resumed(folder: Path, *, freeze: Any, **keys: Any) -> tuple[RunRecord, list[str]]:
    said: list[str] = []

    class Says(Silent):
        def say(self, line: str) -> None:
            said.append(line)

    phases = [{"epochs": 4, "freeze": freeze, "lr": 0.05}]
    recipe = load_recipe(str(write_recipe(folder, phases=phases, replay="off", **keys)))
    record = finetune(recipe, out=folder / "run", resume=True, show=Says(), warn=said.extend)
    return record, said


@pytest.mark.recipe
def test_at_another_depth_what_thaws_begins_anew_and_the_rest_goes_on(tmp_path: Path) -> None:
    stopped(tmp_path)
    left = load_file(tmp_path / "run/checkpoints/last.safetensors")
    record, said = resumed(tmp_path, freeze={"through": "stem"})
    assert "resumed; changed since: phases; 14 of 14 tensors restored, stem, stage1, head as a whole" in said
    assert (
        "resumed: optimizer state of 2 of 5 trained tensors; it begins anew for bn2.bias, bn2.weight, conv2.weight"
        in said
    )
    assert [epoch.epoch for epoch in record.epochs] == [1, 2, 3, 4]
    assert record.proof is not None
    assert record.proof["ok"]
    last = load_file(tmp_path / "run/checkpoints/last.safetensors")
    assert torch.equal(last["conv1.weight"], left["conv1.weight"])
    assert not torch.equal(last["conv2.weight"], left["conv2.weight"])


@pytest.mark.recipe
def test_what_had_been_thawed_stays_as_it_was_trained_where_it_is_frozen_again(tmp_path: Path) -> None:
    phases = [{"epochs": 4, "freeze": "none", "lr": 0.05}]
    recipe = tiny_recipe(tmp_path, phases=phases, replay="off")
    with pytest.raises(KeyboardInterrupt):
        finetune(recipe, out=tmp_path / "run", save_seconds=0, show=Stops(2))
    left = load_file(tmp_path / "run/checkpoints/last.safetensors")
    record, said = resumed(tmp_path, freeze="all")
    assert "resumed: optimizer state of 2 of 2 trained tensors" in said
    last = load_file(tmp_path / "run/checkpoints/last.safetensors")
    assert torch.equal(last["conv2.weight"], left["conv2.weight"])
    assert record.proof is not None
    assert record.proof["ok"]
    # Not before the run, when they were others.
    assert record.proof["claims"][5]["evidence"]["summary"].endswith("held are as before the run was resumed")


@pytest.mark.recipe
def test_with_another_number_of_processes_it_is_another_run(tmp_path: Path) -> None:
    snapshot = read_snapshot(stopped(tmp_path))
    assert snapshot is not None
    assembly = assemble(load_recipe(str(tmp_path / "tiny.yaml")))
    assert Interrupted.of(snapshot, assembly, processes=1, shards=False).same
    found = Interrupted.of(snapshot, assembly, processes=2, shards=True)
    assert not found.same
    assert found.remarks[0].startswith(
        "resumed; changed since: the processes (1 then, 2, sharded now); 14 of 14 tensors"
    )


@pytest.mark.recipe
def test_another_head_is_named_and_begins_anew(tmp_path: Path) -> None:
    stopped(tmp_path)
    record, said = resumed(tmp_path, freeze={"through": "stage1"}, head="few_shot")
    assert "resumed; changed since: head; 12 of 16 tensors restored, stem, stage1 as a whole" in said
    (fresh,) = [line for line in said if line.startswith("not restored, as the recipe makes them")]
    assert "fc.0.weight (256 × 8)" in fresh
    (gone,) = [line for line in said if line.startswith("not restored, in that run alone")]
    assert "fc.bias (3), fc.weight (3 × 8)" in gone
    assert record.status == "finished"


@pytest.mark.recipe
def test_after_a_loss_that_is_not_finite_a_lower_rate_goes_on(tmp_path: Path) -> None:
    spoiled = [{"epochs": 1, "freeze": "all", "lr": 0.01}, {"epochs": 2, "freeze": "none", "lr": 1e30}]
    with pytest.raises(NonFiniteLossError):
        finetune(tiny_recipe(tmp_path, phases=spoiled, replay="off"), out=tmp_path / "run", save_seconds=0)
    spoiled[1]["lr"] = 0.01
    record = finetune(tiny_recipe(tmp_path, phases=spoiled, replay="off"), out=tmp_path / "run", resume=True)
    assert [epoch.epoch for epoch in record.epochs] == [1, 2, 3]
    assert record.status == "finished"


@pytest.mark.recipe
def test_what_is_finished_with_another_recipe_is_not_taken_for_this_one(tmp_path: Path) -> None:
    finetune(tiny_recipe(tmp_path), out=tmp_path / "run")
    with pytest.raises(RunError, match=r"another run is finished there: optimizer, seed differ"):
        finetune(tiny_recipe(tmp_path, optimizer="adamw", seed=5), out=tmp_path / "run", resume=True)


@pytest.mark.recipe
def test_the_best_of_another_network_is_not_the_best_of_this_one(tmp_path: Path) -> None:
    """The old best epoch is better than all to come; its file would not load, or would be of another freeze."""
    stopped(tmp_path)
    with_best(tmp_path, value=2.0)
    record, _ = resumed(tmp_path, freeze="all", head="few_shot")
    assert record.status == "finished"
    assert record.best["epoch"] in (3, 4)
    assert record.proof is not None
    assert record.proof["ok"]


class StopsAtOnce(Silent):
    """Stops in the first step."""

    def step(self, *, epoch: int, loss: float) -> None:
        raise KeyboardInterrupt


@pytest.mark.recipe
@pytest.mark.parametrize("better", [True, False], ids=["a better one comes", "none is better"])
@pytest.mark.parametrize("how", ["gone", "of another life"])
def test_a_best_epoch_whose_file_was_lost(how: str, better: bool, tmp_path: Path) -> None:
    """Whoever resumes with another recipe for a moment loses it; Ctrl-C leaves one that is ahead."""
    file = stopped(tmp_path) / "checkpoints/best.safetensors"
    if how == "gone":
        other = tiny_recipe(tmp_path, phases=[{"epochs": 4, "freeze": "all", "lr": 0.05}], replay="off")
        with pytest.raises(KeyboardInterrupt):
            finetune(other, out=tmp_path / "run", resume=True, show=StopsAtOnce())
        assert not file.exists()
    else:
        save_file({name: torch.zeros_like(tensor) for name, tensor in load_file(file).items()}, file)
    with_best(tmp_path, value=-1.0 if better else 2.0)
    record, said = resumed(tmp_path, freeze={"through": "stage1"})
    assert record.status == "finished"
    assert any("the file of the best epoch" in line for line in said) is not better
    assert record.best["by"] == ("validation accuracy" if better else "last epoch")
    assert file.exists() is better
    assert not better or load_file(file)["fc.weight"].any()


def with_best(folder: Path, *, value: float) -> None:
    """Let what there is to go on from have another value of its best epoch."""
    file = folder / "run/checkpoints/resume.safetensors"
    with safe_open(file, framework="pt") as opened:
        words = json.loads(opened.metadata()["frostline"])
    words["best"]["value"] = value
    save_file(load_file(file), file, {"frostline": json.dumps(words)})


@pytest.mark.recipe
def test_without_a_best_epoch_the_next_phase_says_that_it_begins_with_the_last_weights(tmp_path: Path) -> None:
    stopped(tmp_path, after=3)
    two = [
        {"epochs": 3, "freeze": {"through": "stage1"}, "lr": 0.05},
        {"epochs": 1, "freeze": "none", "lr": 0.01, "start_from": "best"},
    ]
    record = finetune(tiny_recipe(tmp_path, phases=two, replay="off"), out=tmp_path / "run", resume=True)
    assert any(line.startswith("phase 2 begins with the last weights") for line in record.warnings)


@pytest.mark.recipe
def test_another_optimizer_begins_anew(tmp_path: Path) -> None:
    stopped(tmp_path)
    record, said = resumed(tmp_path, freeze={"through": "stage1"}, optimizer="adamw")
    assert "resumed: optimizer state of 0 of 2 trained tensors; it begins anew for fc.bias, fc.weight" in said
    assert record.status == "finished"


@pytest.mark.recipe
def test_another_class_in_the_same_folder_is_noticed(tmp_path: Path) -> None:
    stopped(tmp_path)
    write_pictures(tmp_path / "photos", classes=["violet"])
    record, said = resumed(tmp_path, freeze={"through": "stage1"})
    assert any(line.startswith("resumed; changed since: the pictures; 12 of 14 tensors") for line in said)
    assert any("fc.weight (4 × 8, 3 × 8 in that run)" in line for line in said)
    assert record.status == "finished"


@pytest.mark.recipe
@pytest.mark.parametrize("what", ["the pictures", "the file of the network"])
def test_another_picture_or_another_forward_under_the_same_name_is_noticed(what: str, tmp_path: Path) -> None:
    stopped(tmp_path)
    if what == "the pictures":
        write_pictures(tmp_path / "photos", seed=8)
    body = "def between(self, x):\n    return 2 * x" if what == "the file of the network" else ""
    record, said = resumed(tmp_path, freeze={"through": "stage1"}, network=body)
    assert any(line.startswith(f"resumed; changed since: {what}; 14 of 14 tensors") for line in said)
    assert record.status == "finished"


@pytest.mark.recipe
def test_a_phase_that_became_shorter_under_one_cycle(tmp_path: Path) -> None:
    stopped(tmp_path, after=3, schedule="one_cycle")
    phases = [{"epochs": 2, "freeze": {"through": "stage1"}, "lr": 0.05}]
    recipe = tiny_recipe(tmp_path, phases=phases, replay="off", schedule="one_cycle")
    record = finetune(recipe, out=tmp_path / "run", resume=True)
    assert [epoch.epoch for epoch in record.epochs] == [1, 2, 3]


def test_a_kill_while_the_recipe_was_written_leaves_a_folder_that_is_free(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.recipe.yaml.x1").touch()
    check_free(tmp_path / "run")


@pytest.mark.recipe
def test_a_phase_that_there_is_no_more(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, KEYS["computed"])
    with pytest.raises(KeyboardInterrupt):
        finetune(recipe, out=tmp_path / "run", save_seconds=0, show=Stops(5))
    with pytest.raises(RunError, match="the run was in phase 2, and the recipe has 1"):
        resumed(tmp_path, freeze="all")


@pytest.mark.recipe
@pytest.mark.parametrize("harm", ["cut", "empty", "text"])
def test_a_damaged_file_is_told_in_one_line(harm: str, tmp_path: Path) -> None:
    file = stopped(tmp_path) / "checkpoints/resume.safetensors"
    content = file.read_bytes()
    file.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"hello, world: no tensors"}[harm])
    with pytest.raises(RunError, match=r"resume\.safetensors cannot be read .* remove it, to begin at the beginning"):
        resumed(tmp_path, freeze={"through": "stage1"})
