"""A mistake at the command line: one clear line, exit code 2, nothing half-written, never a traceback."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from frostline.recipe import finetune
from training.tiny import SIDE, tiny_recipe, write_pictures, write_recipe

from .commands import FROSTLINE, Call, Outcome


def is_one_clear_line(outcome: Outcome, says: tuple[str, ...]) -> None:
    assert outcome.code == 2
    assert outcome.out == ""
    (line,) = outcome.err.splitlines()
    assert line.startswith("frostline: ")
    for words in says:
        assert words in line


MISTAKES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "an unknown key": (("sede=1",), ("sede=1: no such key", "the nearest is seed")),
    "frozen_stages under model": (("model.frozen_stages=2",), ("no such key", "freeze: {frozen_stages: N}")),
    "true for a number": (
        ("phases.0.freeze={frozen_stages: true}",),
        ("frozen_stages", "true or false, wanted a whole number from -1 on"),
    ),
    "a negative rate": (("phases.0.lr=-1",), ("phases.0.lr", "-1, wanted a number above 0")),
    "an unknown network": (
        ("model={name: torchvision/resnet19, weights: none}",),
        ("network torchvision/resnet19: no such network", "resnet18"),
    ),
    "an unknown source": (("model.name=keras/vgg",), ("keras/vgg", "wanted timm/")),
    "an unknown stage": (("phases.0.freeze={through: stage9}",), ("no stage stage9", "name one of stem, stage1")),
    "a selector that matches nothing": (("phases.0.freeze={match: [layer9]}",), ("`layer9` matches no parameter",)),
    "everything frozen": (("phases.0.freeze={match: ['*']}",), ("everything would be frozen",)),
    "a missing folder": (("data.train=nowhere",), ("nowhere: no such folder. name a folder",)),
    "an empty folder": (("data.train=empty",), ("empty: it is empty",)),
    "an empty class": (("data.train=gap",), ("class yellow has no pictures",)),
    "a class with one picture": (("data.train=lonely",), ("class yellow has one picture",)),
    "random bytes as weights": (("model.weights=noise.safetensors",), ("no readable safetensors file",)),
    "channels that do not fit": (("data.channels=grey",), ("takes 3 channels", "gives 1")),
    "a GPU where there is none": (("device=cuda",), ("device: cuda: no GPU",)),
    "fp16 without a GPU": (("precision=fp16", "device=cpu"), ("precision: fp16: no GPU", "bf16")),
    "an unknown policy": (("augment=strang",), ("augment=strang: the text `strang`", "the nearest is strong")),
    "an unknown transform": (("augment=[Resise]",), ("augment: Resise: no transform", "the nearest are Resize")),
    "a transform that pictures cannot pass": (
        ("augment=[{RandomCrop: {size: 99}}]",),
        ("augment: ", "photos/blue/0.png cannot pass it", "Required crop size (99, 99)"),
    ),
    "a weight of no class": (
        ("loss.class_weights={rde: 2}",),
        ("loss.class_weights: no class rde", "the nearest are red"),
    ),
    "an unknown head": (("head=fewshot",), ("head=fewshot: the text `fewshot`", "the nearest is few_shot")),
    "a change that is none": (("nonsense",), ("nonsense: no `=`",)),
}


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    write_recipe(tmp_path)
    (tmp_path / "empty").mkdir()
    (write_pictures(tmp_path / "gap") / "yellow").mkdir()
    write_pictures(write_pictures(tmp_path / "lonely"), classes=["yellow"], count=1)
    (tmp_path / "noise.safetensors").write_bytes(bytes(range(256)) * 4)
    return tmp_path


@pytest.mark.parametrize(("changes", "says"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_what_is_asked(
    changes: tuple[str, ...], says: tuple[str, ...], frostline: Call, prepared: Path
) -> None:
    is_one_clear_line(frostline("train", "tiny.yaml", *changes, "--out", "new/run"), says)
    assert not (prepared / "new").exists()


def test_of_several_processes_the_others_wait_for_the_one_that_tells_it(
    frostline: Call, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    for rank in ("0", "1"):
        for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"}.items():
            monkeypatch.setenv(name, value)
        outcome = frostline("train", "tiny.yaml", "phases.0.lr=0", "--out", "run")
        assert (outcome.code, bool(outcome.err)) == (2, rank == "0")
    assert len(waited) == 1


def test_all_bad_pictures_at_once_a_line_each(frostline: Call, prepared: Path) -> None:
    bad = [prepared / "photos" / name for name in ("blue/1.png", "green/2.png", "red/3.png")]
    bad[0].write_bytes(b"")
    bad[1].write_bytes(bad[1].read_bytes()[:70])
    Image.new("RGB", (1, 1)).save(bad[2])
    outcome = frostline("train", "tiny.yaml", "--out", "run")
    assert (outcome.code, outcome.out) == (2, "")
    first, *items = outcome.err.splitlines()
    assert first.startswith("frostline: pictures: 3 pictures cannot be used. ")
    assert "`data.on_bad: skip`" in first
    assert [item.partition(": ")[0] for item in items] == [f"  {path}" for path in bad]
    assert not (prepared / "run").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    finetune(tiny_recipe(folder, "phases.0.epochs=1"), out=folder / "run")
    return folder / "run"


@pytest.mark.recipe
@pytest.mark.parametrize(
    ("command", "folder", "says"),
    [
        pytest.param("predict", "nowhere", ("pictures nowhere: no such folder or file",), id="predict nothing"),
        pytest.param("predict", "empty", ("pictures empty: no pictures in it",), id="predict an empty folder"),
        pytest.param("evaluate", "nowhere", ("data nowhere: no such folder",), id="evaluate nothing"),
        pytest.param("evaluate", "empty", ("data empty: it is empty",), id="evaluate an empty folder"),
        pytest.param("evaluate", "others", ("classes that the training data does not have: violet",), id="others"),
    ],
)
def test_pictures_that_no_run_can_use(
    command: str, folder: str, says: tuple[str, ...], finished: Path, frostline: Call, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    write_pictures(tmp_path / "others", classes=["blue", "violet"], count=1)
    is_one_clear_line(frostline(command, finished, folder), says)


@pytest.mark.recipe
@pytest.mark.parametrize(
    ("to", "says"),
    [
        pytest.param("nowhere/seen.csv", "No such file or directory", id="a folder that is not there"),
        pytest.param("there.csv/seen.csv", "Not a directory", id="below a file"),
        pytest.param("photos", "a folder of that name", id="a folder"),
        pytest.param("/proc/seen.csv", "it cannot be written", id="where nobody may write"),
    ],
)
def test_predictions_that_cannot_be_written_are_told_before_any_is_made(
    to: str, says: str, finished: Path, frostline: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frostline.deployment.predict_folder", lambda *_: pytest.fail("a picture was looked at"))
    (tmp_path / "there.csv").write_text("what was there")
    write_pictures(tmp_path / "photos", classes=["blue"], count=1)
    is_one_clear_line(frostline("predict", finished, "photos", "--to", to), (f"predictions {to}", says, "with --to"))
    assert (tmp_path / "there.csv").read_text() == "what was there"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "there.csv"]


def test_several_mistakes_all_at_once_with_their_lines(frostline: Call, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "task: images\ndata: {train: photos, vall: 0.2}\nmodel: {name: timm/resnet18, frozen_stages: 2}\n"
        "phases:\n  - {epochs: 1, freeze: {frozen_stages: true}, lr: -1}\n"
    )
    outcome = frostline("train", "bad.yaml", "--out", "run")
    assert outcome.code == 2
    first, *mistakes, last = outcome.err.splitlines()
    assert first == "frostline: recipe bad.yaml: 4 mistakes"
    starts = (
        "line 2, data.vall",
        "line 3, model.frozen_stages",
        "line 5, phases.0.freeze.frozen_stages",
        "line 5, phases.0.lr",
    )
    assert len(mistakes) == len(starts)
    for mistake, start in zip(mistakes, starts, strict=True):
        assert mistake.startswith(f"  {start}: ")
    assert "frostline recipe keys" in last
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("task: [images\n", ("line 2",), id="broken YAML"),
        pytest.param("", ("the file is empty", "frostline recipe new"), id="an empty file"),
        pytest.param("- a\n- b\n", ("keys and values",), id="a list"),
    ],
)
def test_a_file_that_is_no_recipe(text: str, says: tuple[str, ...], frostline: Call, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text(text)
    is_one_clear_line(frostline("train", "broken.yaml"), says)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", ["train", "verify", "outline", "recipe show"])
def test_a_recipe_that_is_not_there(command: str, frostline: Call) -> None:
    is_one_clear_line(frostline(*command.split(), "digit.yaml"), ("no such file", "the nearest is digits"))


@pytest.mark.parametrize(
    ("out", "says"),
    [
        pytest.param("taken", "a run of that name is there already", id="a run"),
        pytest.param("tiny.yaml", "something is there already", id="a file"),
        pytest.param("tiny.yaml/run", "it cannot be written (Not a directory)", id="below a file"),
        pytest.param("x" * 300, "File name too long", id="a name too long"),
        pytest.param("/proc/frostline/run", "it cannot be written", id="where nobody may write"),
    ],
)
def test_a_folder_that_cannot_be_written(out: str, says: str, frostline: Call, tmp_path: Path) -> None:
    write_recipe(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/recipe.yaml").write_text("mine")
    is_one_clear_line(frostline("train", "tiny.yaml", "--out", out), (says, "choose another"))
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["recipe.yaml"]
    assert (tmp_path / "taken/recipe.yaml").read_text() == "mine"


@pytest.mark.parametrize("command", ["report", "verify", "evaluate", "predict"])
def test_a_folder_that_is_no_run(command: str, frostline: Call, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    words = ["photos"] if command in ("evaluate", "predict") else []
    is_one_clear_line(frostline(command, "photos", *words), ("run photos: no record.json there", "--out DIR"))
    assert list((tmp_path / "photos").iterdir()) == []


def test_a_damaged_record(frostline: Call, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/record.json").write_text('{"name": "run"')
    is_one_clear_line(frostline("report", "run"), ("record.json cannot be read",))


def test_a_report_of_a_run_that_is_not_there(frostline: Call) -> None:
    is_one_clear_line(frostline("report", "nowhere"), ("run nowhere: no such folder",))


def test_changes_to_what_is_no_recipe(frostline: Call, tmp_path: Path) -> None:
    is_one_clear_line(frostline("outline", "timm/resnet18", "seed=1"), ("leave them out",))
    (tmp_path / "run").mkdir()
    is_one_clear_line(frostline("verify", "run", "seed=1"), ("a run is what it is", "leave them out"))


@pytest.mark.parametrize(
    "words",
    [
        ("trian", "digits"),
        ("train",),
        ("train", "digits", "--outt", "x"),
        ("report",),
        ("recipe", "shwo"),
        ("predict", "a"),
    ],
)
def test_a_mistake_in_the_words_of_a_command(words: tuple[str, ...], frostline: Call) -> None:
    outcome = frostline(*words)
    assert outcome.code == 2
    assert outcome.out == ""
    assert "Usage: frostline" in outcome.err
    assert "Traceback" not in outcome.err


def test_the_installed_command_says_the_same(prepared: Path) -> None:
    """One real process: what is told before torch is imported, with the exit code that a shell sees."""
    found = subprocess.run(
        [FROSTLINE, "train", "tiny.yaml", "model.frozen_stages=2", "--out", "run"],
        cwd=prepared,
        capture_output=True,
        text=True,
        check=False,
    )
    is_one_clear_line(Outcome(found.returncode, found.stdout, found.stderr), ("no such key", "frozen_stages: N"))
    assert not (prepared / "run").exists()


def test_the_installed_command_refuses_a_pickle_that_runs_code(prepared: Path) -> None:
    """A real process that goes as far as torch: its file of weights would write `it ran`."""
    import torch

    class RunsCode:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (prepared / "it ran",)

    torch.save({"fc.weight": RunsCode()}, prepared / "evil.pt")
    found = subprocess.run(
        [FROSTLINE, "train", "tiny.yaml", "model.weights=evil.pt", f"data.size={SIDE}", "--out", "run"],
        cwd=prepared,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    is_one_clear_line(Outcome(found.returncode, found.stdout, found.stderr), ("could run code, so it was not read",))
    assert not (prepared / "run").exists()
    assert not (prepared / "it ran").exists()
