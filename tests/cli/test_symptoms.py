"""What stands out is told at the end of the commands that train and report."""

from pathlib import Path

import pytest

from frostline.record import RECORD_FILE, write_json
from report import records
from training.tiny import write_pictures, write_recipe

from .commands import Call


def test_report_tells_what_stands_out(frostline: Call, tmp_path: Path) -> None:
    ill = records.record(evaluations=(records.evaluation("test", ((20, 0, 0), (20, 0, 0), (20, 0, 0))),))
    write_json(tmp_path / RECORD_FILE, ill.to_json())
    report, line = frostline("report", tmp_path).out.splitlines()
    assert report == f"report: {tmp_path / 'report.html'}"
    assert line.startswith("stands out: One class takes everything: 60 of 60 test samples (100 %) are called daisy")


def test_report_tells_nothing_of_a_good_run(frostline: Call, tmp_path: Path) -> None:
    write_json(tmp_path / RECORD_FILE, records.record().to_json())
    assert frostline("report", tmp_path).out == f"report: {tmp_path / 'report.html'}\n"


@pytest.mark.recipe
def test_train_tells_what_stands_out(frostline: Call, tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", count=30)
    write_recipe(tmp_path, phases=[{"epochs": 6, "freeze": "none", "lr": 3.0}])
    told = frostline("train", "tiny.yaml").out.splitlines()
    place = told.index("report: runs/tiny/report.html")
    lines = told[place + 1 :]
    assert any(line.startswith("stands out: The rate looks too high: rate 3: the train loss") for line in lines)
    assert all(line.startswith("stands out: ") for line in lines)
    again = frostline("report", "runs/tiny").out.splitlines()
    assert again[1:] == lines
