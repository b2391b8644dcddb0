"""Ablations that never were, whose runs have predictions, matrices and mistakes that fit together."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from frostline.record import (
    AblationRecord,
    ArmRecord,
    Evaluation,
    Mistake,
    PlannedRun,
    Predictions,
    RunRecord,
    write_predictions,
)
from frostline.report.arms import Arms, arms_from

from . import records


def said(classes: Sequence[str], samples: int, *, seed: int, skill: float) -> Predictions:
    """Draw what a network of some skill says of samples; the samples and their truth are the same for every seed."""
    labels_N = np.arange(samples) % len(classes)
    logits_NK = np.random.default_rng(seed).normal(size=(samples, len(classes)))
    logits_NK[np.arange(samples), labels_N] += skill
    shares_NK = np.exp(2 * logits_NK)
    shares_NK /= shares_NK.sum(1, keepdims=True)
    return Predictions(
        split="test",
        classes=tuple(classes),
        samples=tuple(f"/photos/{number:04}.jpg" for number in range(samples)),
        labels_N=labels_N,
        shares_NK=shares_NK.astype(np.float32),
    )


def judged(predictions: Predictions, *, mistakes: int = 12, text: str = "") -> Evaluation:
    """Judge predictions; the first mistakes are shown."""
    size = len(predictions.classes)
    said_N = predictions.shares_NK.argmax(1)
    matrix = np.zeros((size, size), dtype=int)
    np.add.at(matrix, (predictions.labels_N, said_N), 1)
    wrong = np.flatnonzero(said_N != predictions.labels_N)[:mistakes]
    return Evaluation(
        split="test",
        samples=len(said_N),
        loss=0.5,
        metrics={"accuracy": float((said_N == predictions.labels_N).mean())},
        confusion=tuple(tuple(map(int, row)) for row in matrix),
        mistakes=tuple(
            Mistake(
                sample=predictions.samples[place],
                truth=predictions.classes[predictions.labels_N[place]],
                predicted=predictions.classes[said_N[place]],
                confidence=float(predictions.shares_NK[place].max()),
                picture="" if text else records.jpeg(),
                text=text,
            )
            for place in wrong
        ),
    )


def run(predictions: Predictions, *, skill: float = 1.0, text: str = "") -> RunRecord:
    """Make the record of a run that said this."""
    good = records.record()
    epochs = tuple(
        dataclasses.replace(
            epoch, val_loss=(epoch.val_loss or 0) / skill, metrics={"accuracy": 1 - 1 / (epoch.epoch + skill)}
        )
        for epoch in good.epochs
    )
    return records.record(
        classes=predictions.classes,
        epochs=epochs,
        evaluations=(judged(predictions, text=text),),
        parameters={**good.parameters, "trained": 10, "total": 100},
        inference_seconds=0.00831 * skill,
    )


def ablation(
    folder: Path,
    *,
    arms: Sequence[str] = ("freeze_none", "freeze_through_stem", "freeze_all"),
    classes: Sequence[str] = ("daisy", "rose", "tulip", "lily", "poppy", "aster"),
    seeds: int = 2,
    samples: int = 90,
    kept: bool = True,
    text: str = "",
) -> Arms:
    """Make an ablation whose first arm freezes nothing; `kept`: whether its runs kept their predictions."""
    answers = [
        ArmRecord(name=name, changes=(f"freeze={name}",), is_baseline=not place) for place, name in enumerate(arms)
    ]
    planned, made, folders = [], {}, {}
    for place, name in enumerate(arms):
        skill = 1.0 + place / len(arms)
        for seed in range(seeds):
            # Not by the arm's name: that may be no name of a folder.
            one = PlannedRun(name=f"arm_{place}_seed_{seed}", arm=name, seed=seed, status="finished")
            predictions = said(classes, samples, seed=1000 * place + seed, skill=skill)
            planned.append(one)
            made[one.name] = run(predictions, skill=skill, text=text)
            folders[one.name] = folder / one.name
            folders[one.name].mkdir(exist_ok=True, parents=True)
            if kept:
                write_predictions(folders[one.name], predictions)
    record = AblationRecord(
        name="flowers",
        recipe={"model": {"name": "torchvision/mobilenet_v2"}, "metric": "accuracy"},
        arms=tuple(answers),
        runs=tuple(planned),
        started="2025-11-21T03:45:10+00:00",
    )
    return arms_from(record, made, folders=folders)
