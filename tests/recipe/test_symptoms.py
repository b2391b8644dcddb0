"""Tiny real runs that are made ill on purpose, and one that is not: the report says of each what ails it."""

import random
from pathlib import Path

import pytest
from PIL import Image

from frostline.recipe import finetune
from frostline.report.symptoms import Symptom, symptoms_of
from training.tiny import SIDE, tiny_recipe, write_pictures

pytestmark = pytest.mark.recipe


def write_noise(folder: Path, counts: dict[str, int]) -> None:
    """Write pictures of which nobody can tell the class."""
    draw = random.Random(0)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            picture = Image.frombytes("RGB", (SIDE, SIDE), draw.randbytes(3 * SIDE * SIDE))
            picture.save(folder / name / f"{number}.png")


def found(folder: Path, *, lr: float, epochs: int, **keys: object) -> dict[str, Symptom]:
    phases = [{"epochs": epochs, "freeze": "none", "lr": lr}]
    record = finetune(tiny_recipe(folder, phases=phases, **keys), out=folder / "run")
    page = (folder / "run" / "report.html").read_text(encoding="utf-8")
    symptoms = {symptom.title: symptom for symptom in symptoms_of(record)}
    assert all(title in page for title in symptoms)
    assert ('id="symptoms"' in page) == bool(symptoms)
    return symptoms


def test_a_rate_that_is_too_high(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", count=30)
    symptom = found(tmp_path, lr=3.0, epochs=6)["The rate looks too high"]
    assert symptom.evidence.startswith("rate 3: the train loss")
    assert "`phases.0.lr`" in symptom.advice


def test_a_class_that_is_never_predicted(tmp_path: Path) -> None:
    write_noise(tmp_path / "photos", {"ant": 60, "bee": 60, "rare": 24})
    (symptom,) = found(tmp_path, lr=0.01, epochs=3).values()
    assert symptom.title == "A class is never predicted"
    assert "1 of 3 classes, in val: rare (0 of 6 samples)" in symptom.evidence
    assert "`sampling: balanced`" in symptom.advice


def test_training_and_validation_that_drift_apart(tmp_path: Path) -> None:
    write_noise(tmp_path / "photos", {"ant": 40, "bee": 40})
    symptom = found(tmp_path, lr=0.02, epochs=20, optimizer={"name": "adamw"})["Training and validation drift apart"]
    assert "freeze more" in symptom.advice
    assert "patience" in symptom.advice


def test_a_run_that_goes_well(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", count=30)
    assert found(tmp_path, lr=0.05, epochs=5) == {}
