"""Questions: which runs are compared, what each of them changes, and how they are named."""

import re
from pathlib import Path

import pytest

from frostline.ablation import Question, values_of
from frostline.errors import UserError
from frostline.recipe import expanded, load_recipe, varied
from frostline.selection import Selector
from training.tiny import tiny_recipe, write_recipe

STAGES = ("stem", "stage1", "stage2", "head")


def asked(folder: Path, *changes: str, **words: object) -> Question:
    return Question.asked(tiny_recipe(folder, *changes), stage_names=lambda: STAGES, **words)  # type: ignore[arg-type]


def freezes(question: Question) -> dict[str, str]:
    return {arm.name: str(question.recipe_of(arm, question.seeds[0]).phases[0].freeze) for arm in question.arms}


def test_every_depth_and_the_baseline(tmp_path: Path) -> None:
    """Freezing through the last stage in front of the head is freezing all but the head, and is asked once."""
    assert freezes(asked(tmp_path, depths=["all"])) == {
        "freeze_none": "none",
        "freeze_through_stem": "through: stem",
        "freeze_through_stage1": "through: stage1",
        "freeze_all": "all",
    }


def test_named_depths_come_in_the_order_of_the_network(tmp_path: Path) -> None:
    question = asked(tmp_path, depths=["all", "stage1", "none", "stem", "stage1"])
    assert list(freezes(question)) == ["freeze_none", "freeze_through_stem", "freeze_through_stage1", "freeze_all"]
    assert [arm.is_baseline for arm in question.arms] == [True, False, False, False]


def test_a_freeze_list_has_the_names_of_the_script_that_it_replaces(tmp_path: Path) -> None:
    assert freezes(asked(tmp_path, first=[3, 4])) == {
        "freeze_none": "none",
        "freeze_1_to_3": "first: 3",
        "freeze_1_to_4": "first: 4",
    }


def test_techniques_with_full_as_the_baseline(tmp_path: Path) -> None:
    question = asked(tmp_path, techniques=["frozen", "gradual"])
    assert [(arm.name, arm.is_baseline) for arm in question.arms] == [
        ("technique_full", True),
        ("technique_frozen", False),
        ("technique_gradual", False),
    ]
    recipe = question.recipe_of(question.arms[1], 3)
    assert recipe.technique is not None
    assert (recipe.technique.name, recipe.phases) == ("frozen", ())


def test_a_technique_keeps_the_settings_that_the_recipe_has(tmp_path: Path) -> None:
    recipe = varied(tiny_recipe(tmp_path), ["technique={name: full, epochs: 7}"])
    question = Question.asked(recipe, stage_names=lambda: STAGES, techniques=["frozen"])
    techniques = [question.recipe_of(arm, 3).technique for arm in question.arms]
    assert [(one.name, one.epochs) for one in techniques if one is not None] == [("full", 7), ("frozen", 7)]


def test_values_are_tried_with_every_depth(tmp_path: Path) -> None:
    question = asked(tmp_path, depths=["stem"], over={"phases.0.lr": ["1e-3", "0.1"], "batch_size": ["2"]})
    assert [arm.name for arm in question.arms] == [
        "freeze_none_batch_size_2_lr_1e-3",
        "freeze_none_batch_size_2_lr_0.1",
        "freeze_through_stem_batch_size_2_lr_1e-3",
        "freeze_through_stem_batch_size_2_lr_0.1",
    ]
    assert [arm.is_baseline for arm in question.arms] == [True, True, False, False]
    recipe = question.recipe_of(question.arms[3], 3)
    assert (recipe.phases[0].lr, recipe.batch_size, recipe.phases[0].freeze) == (0.1, 2, Selector("through", "stem"))


def test_seeds_draw_everything_but_the_samples(tmp_path: Path) -> None:
    question = asked(tmp_path, depths=["stem"], seeds=3)
    assert question.seeds == (3, 4, 5)
    recipes = [question.recipe_of(question.arms[1], seed) for seed in question.seeds]
    assert [recipe.seed for recipe in recipes] == [3, 4, 5]
    assert {recipe.data_seed for recipe in recipes} == {3}
    names = [question.name_of(question.arms[1], seed) for seed in question.seeds]
    assert names == ["freeze_through_stem", "freeze_through_stem_seed_4", "freeze_through_stem_seed_5"]


def test_values_that_look_alike_as_names_are_named_apart(tmp_path: Path) -> None:
    question = asked(tmp_path, over={"phases.0.freeze": ["{match: [conv1]}", "{match: [conv1,]}", "{match: [bn1]}"]})
    one, other, apart = (arm.name for arm in question.arms)
    assert one != other
    assert all(re.fullmatch("freeze_match_conv1_[0-9a-f]{8}", name) for name in (one, other))
    assert apart == "freeze_match_bn1"
    assert question.names == {one, other, apart}


OVER = {
    "phases.0.lr": ["1e-3", "0.1"],
    "batch_size": ["2", "4"],
    "phases.0.freeze": ["{match: [conv1]}", "{match: [conv1,]}"],
}


def test_arms_are_named_alike_in_whatever_order_they_are_asked(tmp_path: Path) -> None:
    """So the same question finds what is there already, and equal values are compared with each other."""
    arms = {arm.name: (arm.changes, arm.over) for arm in asked(tmp_path, depths=["stem"], over=OVER).arms}
    turned = {key: values[::-1] for key, values in reversed(OVER.items())}
    again = asked(tmp_path, depths=["stem"], over=turned).arms
    assert {arm.name: (arm.changes, arm.over) for arm in again} == arms
    assert len(arms) == 16


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, "nothing that the runs shall differ in"),
        ({"depths": ["stage9"]}, "depth stage9: no such stage below the head. the nearest"),
        ({"depths": ["head"]}, "depth head: no such stage below the head"),
        ({"over": {"phases.0.lr": ["0"]}}, "phases.0.lr=0: 0, wanted a number above 0"),
        ({"over": {"phases.1.lr": ["1e-3"]}}, "phases has 1, counted from 0; there is no 1"),
        ({"techniques": ["thawing"]}, "thawing"),
        ({"over": {"seed": ["1", "2"]}}, "--over seed: a key that the runs have of their own. say --seeds 5"),
    ],
)
def test_what_cannot_be_asked(words: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        asked(tmp_path, **words)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text", ["phases.0.lr", "=1,2", "phases.0.lr=", "phases.0.freeze={through: stem", "clip_norm=1.0,"]
)
def test_no_key_and_values(text: str) -> None:
    with pytest.raises(UserError, match="write KEY=VALUE,VALUE"):
        values_of(text)


def test_values_with_commas_of_their_own() -> None:
    assert values_of('model.name="a,b",c') == ("model.name", ('"a,b"', "c"))


def test_the_baseline_freezes_nothing_in_any_phase(tmp_path: Path) -> None:
    phases = [{"epochs": 1, "freeze": "all", "lr": 0.1}, {"epochs": 1, "freeze": {"through": "stem"}, "lr": 0.1}]
    question = Question.asked(tiny_recipe(tmp_path, phases=phases), stage_names=lambda: STAGES, depths=["stage1"])
    freezes = [[str(phase.freeze) for phase in question.recipe_of(arm, 3).phases] for arm in question.arms]
    assert freezes == [["none", "none"], ["through: stage1", "through: stem"]]


def test_a_technique_fills_in_what_belongs_to_it_beside_depths_of_another(tmp_path: Path) -> None:
    recipe = varied(tiny_recipe(tmp_path), ["technique={name: two_stage, epochs: 6}"])
    question = Question.asked(recipe, stage_names=lambda: STAGES, depths=["stem"], techniques=["few_shot"])
    depth, technique = (question.recipe_of(arm, 3) for arm in question.arms[1:])
    assert [str(phase.freeze) for phase in depth.phases] == ["through: stem", "none"]
    written_out = expanded(technique, lambda: STAGES)
    assert (written_out.head, written_out.augment.policy) == ("few_shot", "strong")


@pytest.mark.parametrize("change", ["optimizer.name=adam", "optimizer.name=adamw", "optimizer={name: sgd}"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", {"name": "sgd", "momentum": 0.5}])
def test_a_changed_recipe_is_what_the_command_line_makes_of_its_file(
    optimizer: object, change: str, tmp_path: Path
) -> None:
    path = write_recipe(tmp_path, optimizer=optimizer)
    try:
        wanted = load_recipe(path, overrides=[change])
    except UserError:  # momentum, which somebody wrote, of an optimizer that has none
        with pytest.raises(UserError):
            varied(load_recipe(path), [change])
        return
    assert varied(load_recipe(path), [change]).model_dump() == wanted.model_dump()
