"""From numbers to advice: what size proposes, what the probe decides, and where training begins."""

from typing import Any

import pytest

from frostline.recommendation import Evidence, Probe, StageEvidence, advise, sizes


def evidence(
    *accuracies: float, samples: int = 300, fewest: int = 30, gradients: tuple[float, ...] = (), **changes: Any
) -> Evidence:
    """Stages with these probes, and relative gradients of 1 where none are given."""
    relative = gradients or (1.0,) * len(accuracies)
    stages = tuple(
        StageEvidence(
            stage=f"stage{place}",
            width=8,
            probe=Probe(accuracy=accuracy, error=0.01, folds=5),
            logme=0.0,
            relative_gradient=relative[place],
        )
        for place, accuracy in enumerate(accuracies)
    )
    fields = {"classes": 10, "looked_at": samples, "words": False, **changes}
    return Evidence(stages=stages, samples=samples, fewest=fewest, **fields)


@pytest.mark.parametrize(
    ("samples", "technique", "epochs", "lr"),
    [
        (100, "lora", (10, 20), 1e-4),
        (499, "lora", (10, 20), 1e-4),
        (500, "frozen", (30, 50), 1e-3),
        (2000, "gradual", (50, 80), 5e-4),
        (5000, "discriminative", (80, 100), 5e-4),
        (10_000, "full", (100, 200), 1e-4),
        (10**7, "full", (100, 200), 1e-4),
    ],
)
def test_the_table_by_size(samples: int, technique: str, epochs: tuple[int, int], lr: float) -> None:
    usual = sizes().of(samples)
    assert (usual.technique, usual.epochs, usual.lr) == (technique, epochs, lr)
    assert (sizes().settings("lora").rank, sizes().few_shot_below) == (8, 100)


@pytest.mark.parametrize(
    ("found", "technique"),
    [
        (evidence(0.5, 0.995), "frozen"),
        (evidence(0.5, 0.995, samples=50_000, fewest=5000), "frozen"),
        (evidence(0.5, 0.96), "gradual"),
        (evidence(0.5, 0.7), "gradual"),
        (evidence(0.5, 0.3), "gradual"),
        (evidence(0.5, 0.7, words=True), "lora"),
        (evidence(0.5, 0.3, words=True), "gradual"),
        (evidence(0.5, 0.7, samples=800, fewest=80), "gradual"),
        (evidence(0.5, 0.7, samples=6000, fewest=500), "discriminative"),
        (evidence(0.5, 0.7, samples=20_000, fewest=900), "full"),
    ],
)
def test_the_probe_decides(found: Evidence, technique: str) -> None:
    advice = advise(found)
    assert advice.usual.technique == technique
    assert all(advice.reasons)


def test_chance_is_no_knowledge() -> None:
    """Of two classes 0.7 is two fifths of what there is to know, of a thousand seven tenths."""
    assert evidence(0.7, classes=2).worth == "little"
    assert evidence(0.7, classes=1000).worth == "part"
    assert evidence(0.4, classes=2).share == 0


def test_enough_is_what_leaves_nothing_to_win() -> None:
    """The error of these probes is 0.01."""
    assert evidence(0.991).worth == "enough"
    assert evidence(0.989).worth == "part"


def test_what_training_would_hardly_move_is_never_trained() -> None:
    advice = advise(evidence(0.4, 0.5, 0.6, 0.6, gradients=(0.2, 0.3, 0.9, 0.1)))
    assert advice.through == "stage1"
    assert "at most 0.30 of the largest" in advice.reasons[-1]
    assert advise(evidence(0.4, 0.5, gradients=(1.0, 0.1))).through is None
    assert advise(evidence(0.4, 0.5, gradients=(0.1, 0.1))).through == "stage0", "never all of them"
    assert advise(evidence(0.4, 0.995, gradients=(0.1, 1.0))).through is None, "the technique says it itself"


def test_the_reasons_say_what_was_seen() -> None:
    first, second, third = advise(evidence(0.4, 0.9, 0.7, fewest=12)).reasons
    assert first == "a class has 12 training samples, fewer than 100: few_shot is usual"
    assert "gets 0.700 ± 0.010 of samples right that it has not seen (more on stage1: 0.900" in second
    assert third == "so the features are trained: gradual instead of few_shot"
