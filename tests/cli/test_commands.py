"""The commands where all is well: what they print, what they write, and how they end when somebody leaves early."""

import csv
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from frostline.deployment import evaluate_run, load_run, predict_folder
from frostline.recipe import Recipe, finetune, load_recipe
from training.tiny import CLASSES, tiny_recipe, write_pictures, write_recipe

from .commands import FROSTLINE, Call

RECIPES = ("recipe list", "recipe show", "recipe new", "recipe keys", "recipe schema")
COMMANDS = (
    "demo",
    "outline",
    "recommend",
    "train",
    "ablate",
    "compare",
    "verify",
    "evaluate",
    "predict",
    "report",
    "store list",
    "store prune",
    *RECIPES,
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example(command: str, frostline: Call) -> None:
    found = frostline(*command.split(), "--help")
    assert (found.code, found.err) == (0, "")
    assert f"Example: frostline {command}" in found.out
    assert found.out.startswith(f"Usage: frostline {command} ")
    assert max(map(len, found.out.splitlines())) <= 200


def test_the_help_names_every_command(frostline: Call) -> None:
    for words in (["--help"], ["-h"]):
        found = frostline(*words)
        assert found.code == 0
        for command in COMMANDS:
            assert f"  {command.split()[0]} " in found.out
        assert "Start with: frostline demo" in found.out


def test_the_library_is_listed_with_whole_sentences(frostline: Call) -> None:
    found = frostline("recipe", "list")
    lines = found.out.splitlines()
    assert [line.split()[0] for line in lines] == ["digits", "pretrain-glyphs"]
    assert all(line.endswith(".") for line in lines)
    assert len({line.index(line.split(maxsplit=1)[1]) for line in lines}) == 1
    assert list(json.loads(frostline("recipe", "list", "--json").out)) == ["digits", "pretrain-glyphs"]


def test_a_recipe_is_shown_as_it_runs(frostline: Call, tmp_path: Path) -> None:
    found = frostline("recipe", "show", "digits", "phases.0.epochs=5")
    (tmp_path / "shown.yaml").write_text(found.out)
    expected = load_recipe("digits", overrides=["phases.0.epochs=5"])
    assert load_recipe(str(tmp_path / "shown.yaml")) == expected
    shown = frostline("recipe", "show", "digits", "phases.0.epochs=5", "--json")
    assert json.loads(shown.out) == expected.model_dump(mode="json")


def test_the_schema_is_that_of_the_recipe(frostline: Call) -> None:
    assert json.loads(frostline("recipe", "schema").out) == Recipe.model_json_schema()


def test_a_new_recipe_loads_and_is_not_overwritten(frostline: Call, tmp_path: Path) -> None:
    write_pictures(tmp_path / "my photos")
    found = frostline("recipe", "new", "my photos", "--to", "mine.yaml")
    assert (found.code, found.err) == (0, "")
    assert "frostline train mine.yaml" in found.out
    assert load_recipe("mine.yaml").data.train == str(tmp_path / "my photos")
    (tmp_path / "mine.yaml").write_text("changed")
    again = frostline("recipe", "new", "my photos", "--to", "mine.yaml")
    assert again.code == 2
    assert "a file of that name. choose another with --to" in again.err
    assert (tmp_path / "mine.yaml").read_text() == "changed"
    lost = frostline("recipe", "new", "my photos", "--to", "nowhere/mine.yaml")
    assert lost.code == 2
    assert "it cannot be written (No such file or directory)" in lost.err


def test_the_outline_of_a_network(frostline: Call) -> None:
    found = frostline("outline", "frostline/glyph_resnet")
    rows = {line.split()[0]: int(line.split()[-1].replace(",", "")) for line in found.out.splitlines()[2:]}
    assert list(rows) == ["stem", "stage1", "stage2", "stage3", "head"]
    plain = json.loads(frostline("outline", "frostline/glyph_resnet", "--json").out)
    assert [stage["name"] for stage in plain["stages"]] == list(rows)
    assert f"{sum(rows.values()):,} parameters" in found.out
    layers = frostline("outline", "frostline/glyph_resnet", "--layers").out.splitlines()[2:]
    assert [line.split()[2] for line in layers] == ["1", "2", "3", "4", "5"]


def test_the_outline_of_a_recipe(frostline: Call, tmp_path: Path) -> None:
    write_recipe(tmp_path)
    found = frostline("outline", "tiny.yaml", "phases.0.freeze=all")
    assert found.code == 0
    assert "phase 1: 2 epochs, freeze all, rate 0.01" in found.out
    assert "together       27   420" in found.out
    plain = json.loads(frostline("outline", "tiny.yaml", "--json").out)
    assert plain["phases"][0]["held_parameters"] == ["bn1.bias", "bn1.weight", "conv1.weight"]
    user = frostline("outline", f"{tmp_path}/net.py:Net")
    assert user.out.startswith("Net: ")


@pytest.mark.recipe
def test_train_verify_and_report(frostline: Call, tmp_path: Path) -> None:
    write_recipe(tmp_path)
    found = frostline("train", "tiny.yaml")
    assert found.code == 0
    run = Path("runs/tiny")
    best, proof, report = found.out.strip().splitlines()
    record = json.loads((run / "record.json").read_text())
    assert best.startswith(f"best: epoch {record['best']['epoch']} by validation accuracy, accuracy ")
    assert proof == f"proof: {record['proof']['line']}"
    assert report == "report: runs/tiny/report.html"
    assert found.err.splitlines()[0] == "phase 1 of 1, freeze through: stem: 2 epochs of 5 steps"
    said = found.err.splitlines()[1:]
    assert [line.split()[:2] for line in said if line.startswith("epoch")] == [["epoch", "1"], ["epoch", "2"]]
    # The cost of replay before any work, and afterwards what happened.
    told = [line for line in said if not line.startswith("epoch")]
    assert [line.partition(":")[0] for line in told] == ["replay"] * 2 + ["replay of validation"] * 2
    assert record["phases"][0]["replay"] == told

    proven = frostline("verify", run)
    assert (proven.code, proven.err) == (0, "")
    assert proven.out.count("holds  ") == 6
    assert "the freeze held: 116 parameters held" in proven.out.splitlines()[-1]
    assert json.loads(frostline("verify", run, "--json").out)["ok"] is True
    assert json.loads(frostline("verify", "tiny.yaml", "--json").out)["ok"] is True

    page = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    assert frostline("report", run).out == "report: runs/tiny/report.html\n"
    assert (run / "report.html").read_bytes() == page
    assert json.loads(frostline("report", run, "--json").out) == record
    written = frostline("report", run, "--figures", "figures").out.splitlines()[-1]
    files = sorted(Path("figures").iterdir())
    assert written == f"figures: {len(files)} files in figures"
    assert {path.suffix for path in files} == {".png", ".svg", ".csv"}

    checkpoint = run / "checkpoints/best.safetensors"
    state = load_file(checkpoint)
    state["conv1.weight"][0, 0, 0, 0] *= -1
    save_file(state, checkpoint)
    broken = frostline("verify", run)
    assert broken.code == 1
    assert "FAILS  held tensors did not move: conv1.weight is not what it was" in broken.out
    (line,) = broken.err.splitlines()
    assert line == "frostline: verify runs/tiny: held tensors did not move: it fails. do not trust this freeze"
    plain = frostline("verify", run, "--json")
    assert plain.code == 1
    assert json.loads(plain.out)["ok"] is False


@pytest.mark.recipe
def test_train_as_json(frostline: Call, tmp_path: Path) -> None:
    write_recipe(tmp_path)
    found = frostline("train", "tiny.yaml", "--out", "run", "--json")
    assert json.loads(found.out) == json.loads((tmp_path / "run/record.json").read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    finetune(tiny_recipe(folder, "phases.0.epochs=1"), out=folder / "run")
    return folder / "run"


@pytest.mark.recipe
def test_evaluate_prints_what_was_found_and_taken_for_what(trained: Path, frostline: Call, tmp_path: Path) -> None:
    write_pictures(tmp_path / "new", classes=["blue", "red"], count=5, seed=4)
    wanted, _, _ = evaluate_run(load_run(trained), Path("new"))
    found = frostline("evaluate", trained, "new")
    assert (found.code, found.err) == (0, "")
    first, empty, header, *rows = found.out.splitlines()
    metrics = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in wanted.metrics.items())
    assert (first, empty) == (f"10 pictures in new: {metrics}", "")
    assert header.split("  ")[0] == "class"
    for label, (name, row) in enumerate(zip(CLASSES, rows, strict=True)):
        of_class = wanted.confusion[label]
        called = sum(other[label] for other in wanted.confusion)
        recall = f"{of_class[label] / sum(of_class):.3f}" if sum(of_class) else "–"
        precision = f"{of_class[label] / called:.3f}" if called else "–"
        assert row.split()[:5] == [name, str(sum(of_class)), str(of_class[label]), recall, precision]
    plain = json.loads(frostline("evaluate", trained, "new", "--json").out)
    assert tuple(map(tuple, plain["confusion"])) == wanted.confusion
    assert (plain["classes"], plain["skipped"], plain["samples"]) == (list(CLASSES), [], 10)


@pytest.mark.recipe
def test_evaluate_leaves_out_bad_pictures_where_that_is_asked(trained: Path, frostline: Call, tmp_path: Path) -> None:
    write_pictures(tmp_path / "new", count=2)
    (tmp_path / "new/red/bad.png").touch()
    found = frostline("evaluate", trained, "new", "--skip-bad")
    assert (found.code, found.err) == (0, "warning: new/red/bad.png was left out: empty: zero bytes\n")
    assert found.out.startswith("6 pictures in new: ")
    (skipped,) = json.loads(frostline("evaluate", trained, "new", "--skip-bad", "--json").out)["skipped"]
    assert skipped == {"name": "new/red/bad.png", "reason": "empty: zero bytes"}


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.recipe
def test_predict_writes_classes_and_probabilities(trained: Path, frostline: Call, tmp_path: Path) -> None:
    write_pictures(tmp_path / "new", classes=["blue", 'a name, with "signs"'], count=2, seed=4)
    (tmp_path / "new/blue/bad.png").touch()
    seen = list(predict_folder(load_run(trained), Path("new")))
    found = frostline("predict", trained, "new")
    assert (found.code, found.err) == (
        0,
        "warning: 1 of 5 pictures cannot be used; the column `fault` says why\n",
    )
    assert found.out.splitlines()[0] == "path,class,probability,blue,green,red,fault"
    rows = rows_of(found.out)
    assert [row["path"] for row in rows] == [one.name for one in seen]
    for row, one in zip(rows, seen, strict=True):
        assert row["fault"] == (one.fault or "")
        assert row["class"] == (one.predicted or "")
        shares = [float(row[name]) for name in CLASSES if row[name]]
        assert shares == pytest.approx(list(one.probabilities), abs=1e-6)
        if one.fault is None:
            assert row["class"] == CLASSES[shares.index(max(shares))]
            assert float(row["probability"]) == max(shares)
        else:
            assert (row["probability"], shares) == ("", [])

    (tmp_path / "seen.csv").write_text("what was there")
    written = frostline("predict", trained, "new", "--to", "seen.csv")
    assert (written.code, written.out) == (0, "5 pictures: seen.csv\n")
    assert (tmp_path / "seen.csv").read_text() == found.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "seen.csv"]


@pytest.mark.recipe
def test_predict_writes_names_that_are_no_text_as_they_are(
    trained: Path, frostline: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "new", classes=["blue"], count=1)
    strange = os.fsencode(tmp_path / "new/blue") + "/日\udcff.png".encode(errors="surrogateescape")
    try:
        os.rename(tmp_path / "new/blue/0.png", strange)
    except OSError:
        pytest.skip("the file system takes only text as names")
    assert frostline("predict", trained, "new", "--to", "seen.csv").code == 0
    header, row = (tmp_path / "seen.csv").read_bytes().splitlines()
    assert row.startswith("new/blue/日\udcff.png,".encode(errors="surrogateescape"))
    for encoding in ("utf-8", "latin-1"):  # whatever a terminal speaks, the CSV is the same
        printed = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding=encoding))
        assert frostline("predict", trained, "new").code == 0
        assert printed.getvalue().splitlines() == [header, row]


@pytest.mark.recipe
@pytest.mark.parametrize(
    ("network", "changes", "says"),
    [
        pytest.param("", ["phases.0.lr=1e30"], "the loss is nan in epoch 1, step 2, at rate 1e+30", id="NaN"),
        pytest.param(
            "def before(self):\n    self.bn1.training = True",
            [],
            "after the first step: bn1 is in train",
            id="a freeze",
        ),
        pytest.param(
            "def before(self):\n    self.training and int('x')", [], "ValueError: invalid literal", id="a bug"
        ),
    ],
)
def test_a_run_that_fails_says_so_in_one_line(
    network: str, changes: list[str], says: str, frostline: Call, tmp_path: Path
) -> None:
    write_recipe(tmp_path, network=network)
    found = frostline("train", "tiny.yaml", *changes, "--out", "run")
    assert found.code == 1
    assert found.out == ""
    *_, line = found.err.splitlines()
    assert line.startswith("frostline: ")
    assert says in line
    assert "Traceback" not in found.err
    assert json.loads((tmp_path / "run/record.json").read_text())["status"] == "failed"


@pytest.mark.recipe
def test_ctrl_c(frostline: Call, tmp_path: Path) -> None:
    write_recipe(tmp_path, network="def before(self):\n    if self.training:\n        raise KeyboardInterrupt")
    found = frostline("train", "tiny.yaml", "--out", "run")
    assert found.code == 130
    assert found.err.splitlines()[-1].startswith("frostline: stopped; ")
    assert json.loads((tmp_path / "run/record.json").read_text())["failure"] == "stopped by hand"


OF_THE_SYSTEM = {
    errno.ENOSPC: "No space left on device. make room, or choose another place",
    errno.EACCES: "Permission denied. choose a place that you may use, or give yourself the right to",
    errno.EROFS: "Read-only file system. choose a place that you may use, or give yourself the right to",
    errno.EMFILE: "Too many open files. see to it, and try again",
}


@pytest.mark.parametrize(("number", "says"), OF_THE_SYSTEM.items(), ids=map(errno.errorcode.get, OF_THE_SYSTEM))
def test_what_the_system_refuses_is_told_in_one_line(
    number: int, says: str, frostline: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "runs/a/report.html")

    monkeypatch.setattr("frostline.record.read_record", fail)
    found = frostline("report", "run", "--json")
    assert found.code == 1
    assert found.err == f"frostline: runs/a/report.html: {says}\n"


@pytest.mark.recipe
def test_a_name_that_is_no_text_is_printed(trained: Path, frostline: Call, tmp_path: Path) -> None:
    write_pictures(tmp_path / "new", count=2)
    (tmp_path / "new/blue").joinpath(os.fsdecode(b"\xff.png")).write_bytes(b"broken")
    found = frostline("evaluate", trained, "new", "--skip-bad", "--json")
    assert found.code == 0
    assert [os.fsencode(Path(one["name"]).name) for one in json.loads(found.out)["skipped"]] == [b"\xff.png"]


@pytest.mark.recipe
def test_a_device_is_no_place_that_must_be_tried(
    trained: Path, frostline: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "new", count=1)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    assert frostline("predict", trained, "new", "--to", os.devnull).code == 0


def test_a_folder_of_data_does_not_hide_a_recipe_of_the_library(frostline: Call, tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    assert "seed=-1" in frostline("verify", "digits", "seed=-1").err


@pytest.mark.recipe
def test_a_disk_that_is_full_when_predictions_are_written_keeps_what_was_there(
    trained: Path, frostline: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "new", classes=["blue"], count=1)
    (tmp_path / "seen.csv").write_text("what was there")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    found = frostline("predict", trained, "new", "--to", "seen.csv")
    assert found.code == 2
    assert found.err == (
        "frostline: predictions seen.csv: it cannot be written (No space left on device). choose another with --to\n"
    )
    assert (tmp_path / "seen.csv").read_text() == "what was there"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "seen.csv"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here: a device without room")
def test_a_full_device_is_told_in_one_line() -> None:
    with open("/dev/full", "w") as full:
        found = subprocess.run(
            [FROSTLINE, "recipe", "schema"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert found.returncode == 1
    (line,) = found.stderr.splitlines()
    assert "No space left on device" in line


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_demo_takes_the_next_free_folder(
    taken: int, frostline: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def run(recipe: str, *, out: Path, **_: object) -> None:
        assert recipe == "digits"
        asked.append(out)

    monkeypatch.setattr(sys.modules["frostline.cli.train"], "run", run)
    for name in ("demo", "demo-2")[:taken]:
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert frostline("demo").code == 0
    assert frostline("demo", "--out", "runs/demo").code == 0
    assert asked == [Path("runs", ("demo", "demo-2", "demo-3")[taken]), Path("runs/demo")]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_early_is_no_error(unbuffered: str) -> None:
    read, write = os.pipe()
    os.close(read)
    found = subprocess.run(
        [FROSTLINE, "recipe", "schema"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(write)
    assert (found.returncode, found.stderr) == (1, "")


@pytest.mark.recipe
def test_a_class_named_as_a_column_of_ours_does_not_hide_it(frostline: Call, tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", classes=["fault", "ok"], count=8)
    recipe = tiny_recipe(tmp_path, "phases.0.epochs=1")
    finetune(recipe, out=tmp_path / "run")
    outcome = frostline("predict", tmp_path / "run", "photos")
    header, first, *_ = list(csv.reader(io.StringIO(outcome.out)))
    assert header == ["path", "class", "probability", "p(fault)", "ok", "fault"]
    assert float(first[2]) == max(float(first[3]), float(first[4]))
    assert first[5] == ""
