"""A mistake at the command line: one clear line, exit code 2, nothing half-written, never a traceback."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from training.tiny import SIDE, write_pictures, write_recipe

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
    assert "frostline recipe schema" in last
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


@pytest.mark.parametrize("command", ["report", "verify"])
def test_a_folder_that_is_no_run(command: str, frostline: Call, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    is_one_clear_line(frostline(command, "photos"), ("run photos: no record.json there", "--out DIR"))
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
    "words", [("trian", "digits"), ("train",), ("train", "digits", "--outt", "x"), ("report",), ("recipe", "shwo")]
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
