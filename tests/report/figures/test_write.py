"""Figures and tables as files: all of them, the same bytes twice, whatever arms and classes are called."""

import csv
import subprocess
import sys
import warnings
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from frostline.errors import RunError
from frostline.record import ABLATION_FILE, RUNS, write_json, write_predictions
from frostline.report.arms import Arms
from frostline.report.figures import write_figures
from frostline.report.figures.sheets import as_csv
from frostline.report.tables import Cell, Table, headings, number

from .. import records
from ..many import ablation, run, said

ATTACKS = (
    "<script>alert(1)</script>", "$\\frac{1}{0}$", "../../etc/passwd", "=cmd|' /C calc'!A0", "a" * 200,
    "שלום \u202e עולם", "雪花", "nul\x00\x1b", "line\nline", "half\ud800", "", "_hidden",
)  # fmt: skip


def stored(folder: Path, arms: Arms) -> Path:
    """Write the records of an ablation where its runs' predictions are."""
    write_json(folder / ABLATION_FILE, arms.record.to_json())
    for result in arms.results:
        for seed, record in result.runs.items():
            write_json(result.folders[seed] / "record.json", record.to_json())
    return folder


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    return stored(tmp_path / "flowers", ablation(tmp_path / "flowers" / RUNS))


@pytest.fixture
def one_run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    predictions = said(("daisy", "rose", "tulip"), 60, seed=0, skill=1.0)
    write_json(folder / "record.json", run(predictions).to_json())
    write_predictions(folder, predictions)
    return folder


def test_an_ablation_gives_every_figure_twice_and_every_table(flowers: Path, tmp_path: Path) -> None:
    files = write_figures(flowers, tmp_path / "figures")
    assert sorted(files) == sorted((tmp_path / "figures").iterdir())
    figures = {path.stem for path in files if path.suffix == ".png"}
    assert figures == {path.stem for path in files if path.suffix == ".svg"}
    assert figures == {
        "scores", "validation_accuracy", "validation_loss", "precision_against_recall", "f1_against_confidence",
        "precision_against_confidence", "recall_against_confidence", "confusion_freeze_none",
        "confusion_freeze_through_stem", "confusion_freeze_all", "frost",
    }  # fmt: skip
    assert {path.stem for path in files if path.suffix == ".csv"} == {
        "arms", "scores", "changes", "confusion_freeze_none", "confusion_freeze_through_stem", "confusion_freeze_all",
        "recall_by_class", "precision_by_class", "f1_by_class", "thresholds", "same_samples", "proofs",
    }  # fmt: skip
    for path in files:
        if path.suffix == ".png":
            colours = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
            assert len(np.unique(colours, axis=0)) > 20, f"{path.name} is empty"


def test_a_run_gives_its_own(one_run: Path, tmp_path: Path) -> None:
    files = {path.name for path in write_figures(one_run, tmp_path / "figures")}
    assert {"frost.svg", "loss.png", "metrics.svg", "confusion_test.png", "f1_against_confidence.svg"} <= files
    assert {"epochs.csv", "classes_test.csv", "confusion_test.csv", "thresholds.csv", "stages_phase_1.csv"} <= files
    assert {"proof.csv", "skipped.csv", "time.csv", "facts.csv", "worst_confusions_test.csv"} <= files


def test_the_same_record_gives_the_same_bytes(flowers: Path, tmp_path: Path) -> None:
    first, second = (write_figures(flowers, tmp_path / name) for name in ("one", "two"))
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_text_stays_text_and_nothing_in_an_svg_points_out_of_it(flowers: Path, tmp_path: Path) -> None:
    write_figures(flowers, tmp_path / "figures")
    root = ElementTree.parse(tmp_path / "figures" / "scores.svg").getroot()
    texts = {"".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"freeze_none", "freeze_through_stem", "freeze_all"} <= texts
    links = [value for one in root.iter() for name, value in one.attrib.items() if name.endswith("href")]
    assert all(link.startswith("#") for link in links)


@pytest.mark.parametrize("what", ["arms", "classes"])
def test_no_name_breaks_a_file_or_leaves_the_folder(what: str, tmp_path: Path) -> None:
    runs = tmp_path / "a" / RUNS
    names = tuple(name.encode("utf-8", "replace").decode() for name in ATTACKS)
    arms = ablation(runs, arms=names, seeds=1) if what == "arms" else ablation(runs, classes=names)
    out = tmp_path / "a" / "out"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = write_figures(stored(tmp_path / "a", arms), out)
    assert len(files) == len(set(files))
    assert all(path.parent == out and path.is_file() for path in files)
    assert all(path.name.isascii() and path.name == path.name.lower() and len(path.name) < 80 for path in files)
    for path in files:
        if path.suffix == ".svg":
            tags = {one.tag.rpartition("}")[2] for one in ElementTree.parse(path).iter()}
            assert not tags & {"script", "foreignObject", "a"}
        if path.suffix == ".csv":
            rows = list(csv.reader(StringIO(path.read_text(encoding="utf-8-sig"))))
            assert len({len(row) for row in rows}) == 1
            # A negative number is a number: no formula begins like one.
            assert not [
                cell
                for row in rows
                for cell in row
                if cell.startswith(("=", "+", "@")) or (cell[:1] == "-" and not is_number(cell))
            ]


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_records_without_predictions_have_all_but_what_needs_them(tmp_path: Path) -> None:
    folder = stored(tmp_path / "a", ablation(tmp_path / "a" / RUNS, kept=False))
    names = {path.name for path in write_figures(folder, tmp_path / "figures")}
    assert "scores.png" in names
    assert not names & {"f1_against_confidence.png", "thresholds.csv", "same_samples.csv"}


@pytest.mark.parametrize("name", [name for name in records.EVERY if name != "hostile"])
def test_every_record_can_be_drawn(name: str, tmp_path: Path) -> None:
    write_json(tmp_path / "record.json", records.EVERY[name]().to_json())
    assert write_figures(tmp_path, tmp_path / "figures")


def test_what_is_no_folder_is_said_so(one_run: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(RunError, match="a file of that name"):
        write_figures(one_run, tmp_path / "taken")


def test_the_style_ends_with_the_figures(one_run: Path, tmp_path: Path) -> None:
    script = (
        "import matplotlib, sys, pathlib; matplotlib.rcParams['font.size'] = 17; before = dict(matplotlib.rcParams);"
        "from frostline.report.figures import write_figures;"
        "write_figures(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]));"
        "assert dict(matplotlib.rcParams) == before;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(one_run), str(tmp_path / "figures")], check=True)


def test_numbers_stand_in_full_and_spreads_in_a_column_of_their_own() -> None:
    table = Table(
        name="t",
        caption="",
        headings=headings("class", "recall", "samples"),
        rows=(
            (Cell(said="rose, red"), Cell(said="0.333 ± 0.100", by=1 / 3, sd=0.1), number(3, str)),
            (Cell(said="=1+1"), Cell(said="–"), number(None, str)),
        ),
    )
    assert as_csv(table) == 'class,recall,recall sd,samples\n"rose, red",0.3333333333333333,0.1,3\n\'=1+1,,,\n'
