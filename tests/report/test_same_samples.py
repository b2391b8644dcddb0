"""The same samples under every arm: each answer is what that run said, and the most disputed come first."""

import dataclasses
from pathlib import Path

from frostline.report.ablation_page import render_ablation
from frostline.report.arms import Arms
from frostline.report.same_samples import side_by_side

from .html_page import Page
from .many import ablation


def test_every_answer_is_looked_up_in_what_the_run_said(tmp_path: Path) -> None:
    arms = ablation(tmp_path)
    side = side_by_side(arms)
    assert side.columns == ("freeze_none", "freeze_through_stem", "freeze_all")
    assert len(side.samples) == 12
    assert "Each arm speaks with its run of seed 0." in side.said
    shown = {
        mistake.sample for one in arms.results for run in one.runs.values() for mistake in run.evaluations[0].mistakes
    }
    for one in side.samples:
        assert one.sample in shown
        for answer, result in zip(one.answers, arms.results, strict=True):
            said = result.predictions(0)
            assert said is not None
            assert answer is not None
            place = said.samples.index(one.sample)
            assert answer.predicted == said.classes[said.shares_NK[place].argmax()]
            assert answer.confidence == said.shares_NK[place].max()
            assert answer.right == (answer.predicted == one.truth)
            assert answer.of_truth == said.shares_NK[place][said.classes.index(one.truth)]


def test_the_most_disputed_come_first_and_nothing_undisputed_comes(tmp_path: Path) -> None:
    side = side_by_side(ablation(tmp_path, arms=[f"arm{n}" for n in range(4)]))
    split = [one.right * (4 - one.right) for one in side.samples]
    assert split == sorted(split, reverse=True)
    assert split[0] == 4, "two right and two wrong"
    assert all(len({answer.predicted for answer in one.known}) > 1 for one in side.samples)


def test_right_and_wrong_can_be_told_without_colour(tmp_path: Path) -> None:
    arms = ablation(tmp_path)
    page = Page(render_ablation(arms))
    right, wrong = (page.text.count(sign) for sign in ("✓right: ", "✗wrong: "))
    answers = [answer for one in side_by_side(arms).samples for answer in one.known]
    assert right == sum(answer.right for answer in answers)
    assert wrong == sum(not answer.right for answer in answers)


def test_one_arm_has_nobody_to_differ_from(tmp_path: Path) -> None:
    side = side_by_side(ablation(tmp_path, arms=("only",)))
    assert side.samples == ()
    assert "differ about 0" in side.said


def test_texts_stand_where_pictures_would(tmp_path: Path) -> None:
    page = Page(render_ablation(ablation(tmp_path, text="a <b>bold</b> claim")))
    assert "a <b>bold</b> claim" in page.text


def test_an_arm_without_predictions_has_no_answers(tmp_path: Path) -> None:
    arms = ablation(tmp_path)
    for seed in (0, 1):
        (tmp_path / f"arm_1_seed_{seed}" / "predictions" / "test.safetensors").unlink()
    assert all(one.answers[1] is None and len(one.known) == 2 for one in side_by_side(arms).samples)


def test_nothing_kept_no_mistakes_no_runs(tmp_path: Path) -> None:
    assert "did not keep" in side_by_side(ablation(tmp_path / "a", kept=False)).said
    assert side_by_side(ablation(tmp_path / "b", seeds=0)).said == "No run is finished."
    arms = ablation(tmp_path / "c")
    spotless = tuple(
        dataclasses.replace(
            one,
            runs={
                seed: dataclasses.replace(run, evaluations=(dataclasses.replace(run.evaluations[0], mistakes=()),))
                for seed, run in one.runs.items()
            },
        )
        for one in arms.results
    )
    assert "show no mistakes" in side_by_side(Arms(arms.record, spotless)).said


def test_seeds_that_not_all_arms_share_are_named(tmp_path: Path) -> None:
    arms = ablation(tmp_path)
    first, *rest = arms.results
    arms = Arms(
        arms.record,
        (dataclasses.replace(first, runs={0: first.runs[0]}), dataclasses.replace(rest[0], runs={1: rest[0].runs[1]})),
    )
    assert side_by_side(arms).columns == ("freeze_none, seed 0", "freeze_through_stem, seed 1")
