"""Techniques: what each is written out as, what it leaves alone, and what it cannot be."""

from typing import Any

import pytest

from frostline.errors import RecipeError
from frostline.recipe import Recipe, dump_recipe, expanded
from recipe.written import loaded

STAGES = ("stem", "stage1", "stage2", "stage3", "stage4", "head")
WITH_NECK = (*STAGES[:-1], "neck", "head")


def recipe(technique: Any, **more: Any) -> Recipe:
    words = {"task": "images", "data": {"train": "photos"}, "model": {"name": "timm/x"}, "technique": technique}
    return Recipe.model_validate({**words, **more})


def nobody_asks() -> tuple[str, ...]:
    raise AssertionError("the stages were asked for")


def phases(found: Recipe) -> list[tuple[Any, int, float]]:
    return [(phase.freeze.words(), phase.epochs, phase.lr) for phase in found.phases]


ONE_PHASE = {
    "frozen": ("all", 30, 1e-3),
    "full": ("none", 100, 1e-4),
    "discriminative": ("none", 80, 5e-4),
    "lora": ("all", 20, 1e-4),
    "bitfit": ({"train": ["biases", "head"]}, 20, 1e-3),
    "norm_only": ({"train": ["norms", "head"]}, 20, 1e-3),
}


@pytest.mark.parametrize("name", ONE_PHASE)
def test_one_phase(name: str) -> None:
    found = expanded(recipe(name), nobody_asks)
    assert found.technique is None
    assert phases(found) == [ONE_PHASE[name]]
    assert found.phases[0].rates == ("discriminative" if name == "discriminative" else None)
    shorter = expanded(recipe({"name": name, "epochs": 3, "lr": 0.5, "patience": 2}), nobody_asks)
    assert phases(shorter) == [(ONE_PHASE[name][0], 3, 0.5)]
    assert shorter.phases[0].patience == 2


def test_lora_has_adapters_of_its_own_or_those_of_the_recipe() -> None:
    found = expanded(recipe("lora"), nobody_asks).lora
    assert found is not None
    assert (found.kind, found.rank, found.targets.words()) == ("lora", 8, "all")
    found = expanded(recipe("lora", lora={"kind": "dora", "rank": 4}), nobody_asks).lora
    assert found is not None
    assert (found.kind, found.rank) == ("dora", 4)


def test_gradual_goes_down_by_parts() -> None:
    assert phases(expanded(recipe("gradual"), lambda: WITH_NECK)) == [
        ("all", 10, 5e-4),
        ("backbone", 10, 5e-4),
        ({"through": "stage2"}, 10, 5e-4),
        ("none", 20, 5e-4),
    ]
    assert phases(expanded(recipe({"name": "gradual", "epochs": 10}), lambda: STAGES)) == [
        ("all", 2, 5e-4),
        ({"through": "stage2"}, 2, 5e-4),
        ("none", 6, 5e-4),
    ]


@pytest.mark.parametrize("epochs", range(1, 8))
@pytest.mark.parametrize("stages", [("stem", "head"), ("stem", "stage1", "head"), STAGES, WITH_NECK])
def test_gradual_has_the_epochs_it_is_given(epochs: int, stages: tuple[str, ...]) -> None:
    found = phases(expanded(recipe({"name": "gradual", "epochs": epochs}), lambda: stages))
    assert sum(length for _, length, _ in found) == epochs
    assert found[-1][0] == "none"


def test_gradual_in_named_epochs_asks_no_network() -> None:
    thaw = {0: ["head"], 5: "stage4", "10": ["stage3", "*.bias"]}
    assert phases(expanded(recipe({"name": "gradual", "thaw": thaw, "epochs": 12}), nobody_asks)) == [
        ({"train": ["head"]}, 5, 5e-4),
        ({"train": ["head", "stage4"]}, 5, 5e-4),
        ({"train": ["head", "stage4", "stage3", "*.bias"]}, 2, 5e-4),
    ]


def test_gradual_and_freeze_out_stage_by_stage() -> None:
    down = phases(expanded(recipe({"name": "gradual", "every": 2, "epochs": 20, "lr": 0.1}), lambda: STAGES))
    wanted = [({"through": name}, 2, 0.1) for name in ("stage4", "stage3", "stage2", "stage1", "stem")]
    assert down == [*wanted, ("none", 10, 0.1)]
    up = phases(expanded(recipe({"name": "freeze_out", "epochs": 12}), lambda: STAGES))
    assert [freeze for freeze, _, _ in up] == ["none", *({"through": name} for name in STAGES[:-1])]
    assert [length for _, length, _ in up] == [2] * 6


def test_two_stages_the_second_from_the_best_with_a_rate_and_a_warm_up_of_its_own() -> None:
    found = expanded(recipe("two_stage"), nobody_asks)
    assert phases(found) == [("all", 10, 1e-3), ("none", 20, pytest.approx(1e-4))]
    assert [phase.start_from for phase in found.phases] == ["last", "best"]
    assert [phase.warmup for phase in found.phases] == [None, 1.0]
    other = expanded(recipe({"name": "two_stage", "freeze": {"through": "stage1"}}, schedule="one_cycle"), nobody_asks)
    assert other.phases[0].freeze.words() == {"through": "stage1"}
    assert other.phases[1].warmup is None  # it rises by itself


def test_without_validation_nothing_is_best_and_nobody_waits() -> None:
    none = {"train": "photos", "val": None}
    assert expanded(recipe("two_stage", data=none), nobody_asks).phases[1].start_from == "last"
    assert expanded(recipe("few_shot", data=none), nobody_asks).phases[0].patience is None


def test_few_shot_leaves_what_the_recipe_says() -> None:
    found = expanded(recipe("few_shot"), nobody_asks)
    assert (found.head, found.augment.policy, found.phases[0].patience) == ("few_shot", "strong", 10)
    own = expanded(recipe("few_shot", head="linear", augment="none"), nobody_asks)
    assert (own.head, own.augment.policy) == ("linear", "none")


def test_what_the_recipe_says_itself_goes_before_the_technique() -> None:
    rates = {"decay": 0.8}
    assert expanded(recipe("discriminative", rates=rates), nobody_asks).phases[0].rates is None
    assert expanded(recipe({"name": "few_shot", "patience": 3}), nobody_asks).phases[0].patience == 3
    assert expanded(recipe("few_shot", patience=4), nobody_asks).phases[0].patience is None
    assert expanded(recipe("two_stage", warmup=2), nobody_asks).phases[1].warmup is None


def test_two_stages_of_one_epoch_together() -> None:
    with pytest.raises(RecipeError, match="technique two_stage: one mistake: 1 epoch; give it 2 at least"):
        expanded(recipe({"name": "two_stage", "epochs": 1}), nobody_asks)


def test_what_is_written_out_loads_as_itself(tmp_path: Any) -> None:
    for name in ("frozen", "gradual", "discriminative", "full", "few_shot", "two_stage", "freeze_out"):
        found = expanded(recipe(name, data={"train": "/photos"}), lambda: WITH_NECK)
        assert loaded(dump_recipe(found), tmp_path) == found
        assert expanded(found, nobody_asks) is found


def test_a_warm_up_longer_than_a_phase_is_told() -> None:
    with pytest.raises(RecipeError, match=r"technique gradual.*warmup: 10 epochs, and phase 1 has 10 epochs"):
        expanded(recipe("gradual", warmup=10), lambda: STAGES)


def test_a_network_of_one_stage() -> None:
    with pytest.raises(RecipeError, match="the network has 1"):
        expanded(recipe({"name": "gradual", "every": 1}), lambda: ("head",))
