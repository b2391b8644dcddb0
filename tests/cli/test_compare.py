"""`frostline compare`: what it prints of runs that never were, and what it says where nothing can be compared."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frostline.record import Predictions, write_json, write_predictions
from report import records

from .commands import Call

LABELS_N = np.arange(80) % 2
CLASSES = ("<script>", "tulip")


def run(name: str, *, right: int, freeze: str, seed: int = 0, kept: bool = True) -> Path:
    """Leave a run that got so many of 80 test samples right."""
    folder = Path(name)
    folder.mkdir()
    said_N = np.where(np.arange(80) < right, LABELS_N, 1 - LABELS_N)
    matrix = tuple(tuple(int(((row == LABELS_N) & (said_N == column)).sum()) for column in (0, 1)) for row in (0, 1))
    recipe: dict[str, Any] = {"seed": seed, "metric": "accuracy", "phases": [{"freeze": freeze}]}
    record = records.record(
        name=name,
        recipe=recipe,
        classes=CLASSES,
        evaluations=(records.evaluation("test", matrix, accuracy=right / 80),),
        inference_seconds=0.004,
    )
    write_json(folder / "record.json", record.to_json())
    shares_NK = np.eye(2, dtype=np.float32)[said_N]
    names = tuple(f"photo {place}.png" for place in range(80))
    said = Predictions(split="test", classes=CLASSES, samples=names, labels_N=LABELS_N, shares_NK=shares_NK)
    if kept:
        write_predictions(folder, said)
    return folder


def test_runs_beside_runs(frostline: Call) -> None:
    run("deep", right=60, freeze="all")
    run("free", right=40, freeze="none")
    run("half", right=41, freeze="backbone")
    found = frostline("compare", "deep", "free", "half", "--out", "side by side")
    assert (found.code, found.err) == (0, "")
    lines = {line.split()[0]: line for line in found.out.splitlines() if line}
    assert "0.750  +0.250 [" in lines["deep"]
    assert "  yes  " in lines["deep"]
    assert "0.512  +0.012 [" in lines["half"]
    assert "  no  " in lines["half"]
    assert "4 ms" in lines["free"]
    assert "another seed may change more than they do" in found.out
    page = Path("side by side/report.html").read_text()
    assert "Best: deep" in page
    assert found.out.splitlines()[-1] == "report: side by side/report.html"


def test_the_same_for_programs(frostline: Call) -> None:
    runs = [run(f"deep{seed}", right=60 + seed, freeze="all", seed=seed) for seed in (0, 1)]
    runs += [run(f"free{seed}", right=40, freeze="none", seed=seed) for seed in (0, 1)]
    told = json.loads(frostline("compare", *runs, "--json").out)
    assert (told["metric"], told["baseline"]) == ("test accuracy", "free")
    deep, free = told["arms"]
    assert deep["runs"] == ["deep0", "deep1"]
    assert deep["scores"] == [0.75, 0.7625]
    assert deep["apart"]["basis"] == "samples and seeds"
    assert deep["apart"]["value"] == pytest.approx(0.25625)
    assert free["apart"] is None


def test_without_what_was_said_of_samples_seeds_alone_tell(frostline: Call) -> None:
    runs = [run(f"deep{seed}", right=60 + seed, freeze="all", seed=seed) for seed in (0, 1, 2)]
    runs += [run(f"free{seed}", right=40 - seed, freeze="none", seed=seed, kept=False) for seed in (0, 1, 2)]
    deep, _ = json.loads(frostline("compare", *runs, "--json").out)["arms"]
    assert (deep["apart"]["basis"], deep["apart"]["samples"], deep["apart"]["seeds"]) == ("seeds", 0, 3)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere"], "run nowhere: no such folder"),
        (["deep"], "compare deep: one run"),
        (["deep", "free", "--baseline", "x"], "--baseline x: no arm of that name; there are deep, free"),
        (["deep", "free", "--columns", "a"], "--columns a: a names no column"),
        (["deep", "free", "--out", "deep/record.json"], "it cannot be written"),
    ],
)
def test_what_cannot_be_compared_is_one_clear_line(words: list[str], says: str, frostline: Call) -> None:
    run("deep", right=60, freeze="all")
    run("free", right=40, freeze="none")
    found = frostline("compare", *words)
    assert (found.code, found.out) == (2, "")
    assert says in found.err
    assert len(found.err.splitlines()) == 1
