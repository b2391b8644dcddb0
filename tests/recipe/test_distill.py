"""A student learns from a teacher: held and proven, its scores computed once, to the same losses as anew each time."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from frostline.errors import ProofError, RecipeError, RunError, UserError
from frostline.recipe import Recipe, finetune, verify_recipe, verify_run
from frostline.recipe.trained import load_run
from frostline.record import RunRecord
from frostline.training import Silent, teaching
from training.tiny import CLASSES, read_pictures, tiny_recipe, twin_at_start, write_pictures

PHASES = [{"epochs": 2, "freeze": "none", "lr": 0.05}]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    finetune(tiny_recipe(folder, "seed=7", "phases.0.freeze=none", "phases.0.epochs=4"), out=folder / "run")
    return folder / "run"


class Stops(Silent):
    """Stops after the first epoch."""

    def epoch(self, record: Any) -> None:
        raise KeyboardInterrupt


def student(folder: Path, teacher: Path, *changes: str, **keys: Any) -> Recipe:
    words = {"teacher": str(teacher), **keys.pop("distill", {})}
    replay = {"use": keys.pop("use", "auto"), "dir": str(folder / "store")}
    return tiny_recipe(folder, *changes, **{"distill": words, "phases": PHASES, "replay": replay, **keys})


def losses(record: RunRecord) -> list[float]:
    return [epoch.train_loss for epoch in record.epochs]


def test_stored_or_computed_the_losses_are_the_same(teacher: Path, tmp_path: Path) -> None:
    records = {use: finetune(student(tmp_path, teacher, use=use), out=tmp_path / use) for use in ("auto", "off")}
    assert losses(records["auto"]) == pytest.approx(losses(records["off"]), abs=1e-5)
    again = finetune(student(tmp_path, teacher), out=tmp_path / "again")
    assert losses(again) == losses(records["auto"])
    plain = finetune(tiny_recipe(tmp_path, phases=PHASES, replay="off"), out=tmp_path / "plain")
    assert abs(losses(plain)[-1] - losses(again)[-1]) > 1e-3
    # What is judged is judged by its labels alone, with a teacher and without.
    assert again.epochs[0].val_loss is not None


def test_a_teacher_is_given_whole_batches_alone(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    held = teaching.hold_teacher

    def watched(given: Any, **settings: Any) -> teaching.Teaching:
        found = held(given, **settings)
        found.teacher.network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
        return found

    monkeypatch.setattr("frostline.recipe.teaching.hold_teacher", watched)
    monkeypatch.setattr(teaching, "TO_PROVE", 4)
    finetune(student(tmp_path, teacher, use="off"), out=tmp_path / "run")
    # 18 samples in steps of 4, so that the last two of an epoch are by themselves.
    assert seen
    assert set(seen) == {4}


def test_training_is_what_a_loop_by_hand_does(teacher: Path, tmp_path: Path) -> None:
    recipe = student(tmp_path, teacher, "data.val=null", "phases.0.epochs=1", distill={"alpha": 0.3, "temperature": 2})
    record = finetune(recipe, out=tmp_path / "run")
    paths = sorted((tmp_path / "photos").glob("*/*.png"))
    images = read_pictures(paths).to(memory_format=torch.channels_last)
    labels = torch.tensor([CLASSES.index(path.parent.name) for path in paths])
    theirs = load_run(teacher).model(images).detach()
    network = twin_at_start(3).to(memory_format=torch.channels_last).train()
    decayed = [p for name, p in network.named_parameters() if p.ndim > 1]
    others = [p for name, p in network.named_parameters() if p.ndim == 1]
    stepper = torch.optim.SGD([{"params": decayed, "weight_decay": 0.01}, {"params": others}], lr=0.05, momentum=0.9)
    generator = torch.Generator().manual_seed(4)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.arange(len(labels))), batch_size=4, shuffle=True, generator=generator
    )
    seen = []
    for (places,) in loader:
        stepper.zero_grad()
        logits = network(images[places])
        p = (theirs[places] / 2).softmax(1)
        soft = 4 * (p * (p.log() - (logits / 2).log_softmax(1))).sum(1).mean()
        loss = 0.3 * F.cross_entropy(logits, labels[places]) + 0.7 * soft
        loss.backward()
        stepper.step()
        seen.append(float(loss.detach()))
    assert losses(record) == pytest.approx([np.mean(seen)], rel=1e-4)


def test_the_record_says_who_taught_and_that_it_was_held(teacher: Path, tmp_path: Path) -> None:
    finetune(student(tmp_path, teacher), out=tmp_path / "run")
    words = json.loads((tmp_path / "run" / "record.json").read_text())["teacher"]
    assert words["run"] == str(teacher)
    assert words["proof"]["ok"]
    assert "the freeze held: " in words["proof"]["line"]
    assert any("recorded 18 samples" in line for line in words["scores"])
    assert str(teacher) in (tmp_path / "run" / "report.html").read_text()


def test_a_teacher_may_take_another_input(tmp_path: Path, teacher: Path) -> None:
    finetune(tiny_recipe(tmp_path, "data.size=24", phases=PHASES), out=tmp_path / "wide")
    records = [finetune(student(tmp_path, tmp_path / "wide", use=use), out=tmp_path / use) for use in ("auto", "off")]
    assert losses(records[0]) == pytest.approx(losses(records[1]), abs=1e-5)
    assert load_run(tmp_path / "auto").spec != load_run(tmp_path / "wide").spec


def test_under_augmentation_it_sees_what_its_student_sees(tmp_path: Path, teacher: Path) -> None:
    record = finetune(student(tmp_path, teacher, augment="light"), out=tmp_path / "run")
    assert record.teacher["scores"] == ["teacher: computed for each batch"]
    finetune(tiny_recipe(tmp_path, "data.size=24", phases=PHASES), out=tmp_path / "wide")
    with pytest.raises(UserError, match="another input than its student"):
        finetune(student(tmp_path, tmp_path / "wide", augment="light"), out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_head_that_is_replayed_learns_from_stored_scores(tmp_path: Path, teacher: Path) -> None:
    phases = [{"epochs": 2, "freeze": "all", "lr": 0.05}]
    records = [
        finetune(student(tmp_path, teacher, phases=phases, use=use), out=tmp_path / use) for use in ("auto", "off")
    ]
    assert losses(records[0]) == pytest.approx(losses(records[1]), abs=1e-5)
    assert "off" not in records[0].phases[0].replay[-1]


def test_a_teacher_that_changes_fails_the_run(tmp_path: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = teaching.hold_teacher

    def moved(given: Any, **settings: Any) -> teaching.Teaching:
        found = held(given, **settings)
        with torch.no_grad():
            next(given.network.parameters()).add_(1)
        return found

    monkeypatch.setattr("frostline.recipe.teaching.hold_teacher", moved)
    with pytest.raises(ProofError, match=r"teacher .*held tensors did not move: it fails"):
        finetune(student(tmp_path, teacher), out=tmp_path / "run")
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["status"] == "failed"
    assert not record["teacher"]["proof"]["ok"]
    assert not verify_run(tmp_path / "run").ok


def test_a_run_that_was_stopped_says_who_taught_it(tmp_path: Path, teacher: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        finetune(student(tmp_path, teacher), out=tmp_path / "run", show=Stops(), save_seconds=0)
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert (record["teacher"]["run"], record["teacher"]["proof"]) == (str(teacher), None)


def test_what_a_student_does_to_its_input_its_teacher_does_not_see(tmp_path: Path, teacher: Path) -> None:
    network = """
def before(self): pass
def forward(self, x):
    x.clamp_(-0.3, 0.3)
    x = F.relu(self.bn1(self.conv1(x)))
    x = F.relu(self.bn2(self.conv2(x)))
    return self.fc(x.mean((2, 3)))
"""
    records = [
        finetune(student(tmp_path, teacher, network=network, use=use), out=tmp_path / use) for use in ("auto", "off")
    ]
    assert losses(records[0]) == pytest.approx(losses(records[1]), abs=1e-5)


def test_a_finished_run_is_verified_without_its_teacher(tmp_path: Path, teacher: Path) -> None:
    shutil.copytree(teacher, tmp_path / "teacher")
    finetune(student(tmp_path, tmp_path / "teacher"), out=tmp_path / "run")
    shutil.rmtree(tmp_path / "teacher")
    proof = verify_run(tmp_path / "run")
    assert proof.ok
    assert any("the teacher is gone" in line for line in proof.warnings)


def test_a_teacher_of_another_split_is_told_of(tmp_path: Path) -> None:
    finetune(tiny_recipe(tmp_path, "seed=7"), out=tmp_path / "teacher")
    told: list[str] = []
    finetune(student(tmp_path, tmp_path / "teacher"), out=tmp_path / "run", warn=told.extend)
    assert any("another split of the same samples" in line for line in told)


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path: Path, teacher: Path) -> None:
    recipe = student(tmp_path, teacher)
    whole = finetune(recipe, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        finetune(recipe, out=tmp_path / "run", show=Stops(), save_seconds=0)
    resumed = finetune(recipe, out=tmp_path / "run", resume=True)
    assert losses(resumed) == losses(whole)
    assert resumed.digests["final"] == whole.digests["final"]


def test_another_teacher_in_the_same_folder_is_told_of(tmp_path: Path, teacher: Path) -> None:
    shutil.copytree(teacher, tmp_path / "teacher")
    recipe = student(tmp_path, tmp_path / "teacher")
    with pytest.raises(KeyboardInterrupt):
        finetune(recipe, out=tmp_path / "run", show=Stops(), save_seconds=0)
    file = tmp_path / "teacher/checkpoints/best.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(file).items()}, file)
    told: list[str] = []
    finetune(recipe, out=tmp_path / "run", resume=True, warn=told.extend)
    assert any(line.startswith("resumed; changed since: the weights of the teacher") for line in told)


def test_it_is_proven_before_training(tmp_path: Path, teacher: Path) -> None:
    assert verify_recipe(student(tmp_path, teacher)).ok


def test_the_technique_trains_everything_with_a_teacher(tmp_path: Path, teacher: Path) -> None:
    words = student(tmp_path, teacher).model_dump(mode="json", exclude={"phases"})
    recipe = Recipe.model_validate(words | {"technique": {"name": "distill", "epochs": 1}})
    record = finetune(recipe, out=tmp_path / "run")
    assert record.phases[0].freeze == "none"
    with pytest.raises(ValueError, match="the technique needs a teacher"):
        Recipe.model_validate(words | {"technique": "distill", "distill": None})


@pytest.mark.parametrize(
    ("broken", "match"),
    [
        ("nowhere", "no such folder"),
        ("no run", "no record.json there"),
        ("unfinished", "the run has not come to its end"),
        ("classes", "it knows blue, green, red, wanted blue, green, red, white"),
    ],
)
def test_teachers_that_cannot_teach_are_refused_before_anything_is_written(
    broken: str, match: str, tmp_path: Path, teacher: Path
) -> None:
    place = tmp_path / "teacher"
    if broken == "no run":
        place.mkdir()
    elif broken == "unfinished":
        shutil.copytree(teacher, place)
        words = json.loads((place / "record.json").read_text()) | {"status": "failed", "failure": "stopped by hand"}
        (place / "record.json").write_text(json.dumps(words))
    elif broken == "classes":
        place = teacher
        write_pictures(tmp_path / "photos", classes=(*CLASSES, "white"))
    with pytest.raises(RunError, match=match):
        finetune(student(tmp_path, place), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        ({"distill": {"temperature": 0}}, "distill.temperature"),
        ({"distill": {"alpha": 1.5}}, "distill.alpha"),
        ({"distill": {"teachers": "x"}}, "distill.teachers: no such key; the nearest is teacher"),
        ({"augment": "light", "replay": {"views": 2}}, "replay.views: 2, and a teacher looks at"),
    ],
    ids=str,
)
def test_mistakes_are_told_with_their_key(keys: dict[str, Any], mistake: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        student(tmp_path, tmp_path, **keys)
    assert mistake in str(caught.value)
