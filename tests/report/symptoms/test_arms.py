"""An ablation: arms within the noise of their seeds or samples, and what its runs have in common."""

import random
from dataclasses import replace
from statistics import mean

from frostline.record import RunRecord
from frostline.report.arms import Arms
from frostline.report.symptoms import symptoms_of_arms

from .. import records
from ..test_ablation_page import arms_with, scored


def titles(arms: Arms) -> list[str]:
    return [symptom.title for symptom in symptoms_of_arms(arms)]


SAME = "The arms cannot be told apart"
ONE_SEED = "The arms cannot be told apart, with one seed of each"


def of_samples(arms: Arms, count: int) -> Arms:
    """As many test samples in every run."""

    def counted(record: RunRecord) -> RunRecord:
        return replace(record, evaluations=tuple(replace(one, samples=count) for one in record.evaluations))

    return replace(
        arms,
        results=tuple(
            replace(one, runs={seed: counted(record) for seed, record in one.runs.items()}) for one in arms.results
        ),
    )


def test_arms_within_the_noise_of_their_seeds() -> None:
    scores = {"freeze_none": (0.80, 0.86, 0.83), "freeze_stem": (0.82, 0.85, 0.81), "freeze_all": (0.79, 0.84, 0.84)}
    (symptom,) = symptoms_of_arms(arms_with(scores))
    assert (symptom.title, symptom.severity) == (SAME, "note")
    assert "3 arms, test accuracy from freeze_all 0.823 to freeze_none 0.830" in symptom.evidence
    # Within the arms: squares 0.0018, 0.00086667 and 0.00166667 with 6 degrees of freedom.
    assert f"standard error of {((0.00433333 / 6) * 2 / 3) ** 0.5:.3f}" in symptom.evidence
    assert "more seeds (there are 3 of an arm)" in symptom.advice
    assert "take the one that trains least, freeze_all" in symptom.advice


def test_arms_that_differ() -> None:
    assert titles(arms_with()) == []


def test_as_many_ablations_are_called_alike_by_chance_as_should_be() -> None:
    """Arms that are alike are nearly always called so, and arms three standard deviations apart never."""
    draw = random.Random(0)
    alike = [{f"a{n}": tuple(draw.gauss(0.8, 0.01) for _ in range(3)) for n in range(5)} for _ in range(120)]
    apart = [{f"a{n}": tuple(draw.gauss(0.7 + 0.03 * n, 0.01) for _ in range(3)) for n in range(5)} for _ in range(40)]
    assert mean(SAME in titles(arms_with(scores)) for scores in alike) > 0.85
    assert not any(SAME in titles(arms_with(scores)) for scores in apart)


def test_one_seed_cannot_be_known_and_is_held_against_the_samples() -> None:
    arms = of_samples(arms_with({"freeze_none": (0.82,), "freeze_all": (0.78,)}), 100)
    (symptom,) = symptoms_of_arms(arms)
    assert symptom.title == ONE_SEED
    assert "how far seeds scatter cannot be known from one" in symptom.evidence
    assert "standard error of 0.057" in symptom.evidence  # sqrt((0.82 · 0.18 + 0.78 · 0.22) / 100), and a little more
    assert "`--seeds 3`" in symptom.advice
    assert titles(of_samples(arms, 10_000)) == []


def test_a_task_that_is_too_easy() -> None:
    (symptom,) = symptoms_of_arms(arms_with({"freeze_none": (1.0, 1.0), "freeze_all": (1.0, 0.99)}))
    assert "all arms are nearly perfect" in symptom.advice


def test_arms_without_scores_or_alone() -> None:
    assert titles(arms_with({"freeze_none": (), "freeze_all": ()})) == []
    assert titles(arms_with({"freeze_none": (0.5, 0.6)})) == []


def test_the_symptoms_of_runs_are_told_once_with_the_arms_that_have_them() -> None:
    arms = arms_with()
    one_sided = records.evaluation("test", ((20, 0, 0), (20, 0, 0), (20, 0, 0)), accuracy=0.33)
    ill = replace(scored(0.33), evaluations=(one_sided,))
    results = list(arms.results)
    results[1] = replace(results[1], runs={0: ill, 1: ill})
    results[3] = replace(results[3], runs={**results[3].runs, 1: ill})
    (symptom,) = symptoms_of_arms(Arms(arms.record, tuple(results)))
    assert symptom.title == "One class takes everything"
    assert symptom.where == "3 of 8 runs: freeze_through_stem (2 of 2), freeze_all (1 of 2)"
    assert symptom.evidence.startswith("in freeze_through_stem, 60 of 60 test samples")
    assert symptom.line.startswith("One class takes everything (3 of 8 runs: freeze_through_stem")


def test_where_nothing_was_learned_nothing_is_called_alike() -> None:
    assert titles(arms_with({"a": (0.0, 0.0), "b": (0.0, 0.0)})) == []


def test_where_nobody_knows_what_is_trained_nothing_is_said_of_it() -> None:
    """As of runs of other trainers."""
    arms = arms_with({"a": (0.8, 0.81), "b": (0.81, 0.8)})
    results = tuple(
        replace(one, runs={seed: replace(run, parameters={}) for seed, run in one.runs.items()}) for one in arms.results
    )
    (symptom,) = symptoms_of_arms(replace(arms, results=results))
    assert "parameters" not in symptom.advice
