"""What a person is told of a recipe that can be done: settings that change nothing, or not what they say."""

from pathlib import Path
from typing import Any

import pytest

from frostline.recipe import Recipe, assemble
from training.tiny import tiny_recipe

HELD = [{"epochs": 2, "freeze": "all", "lr": 0.01}]
TRAINED = [{"epochs": 2, "freeze": "none", "lr": 0.01}]
GRADUAL = {"name": "gradual", "every": 1, "epochs": 2}
TOLD = {
    "an average that is as long as the phases": ({"ema": 0.5}, ""),
    "an average for longer phases": (
        {"ema": 0.99},
        "phase 1: `ema: 0.99` looks back on about 100 steps, and the phase has 10: the average follows faster",
    ),
    "restarts": ({"schedule": {"name": "cosine_restarts", "first_epochs": 1}}, ""),
    "restarts after the end": (
        {"schedule": "cosine_restarts"},
        "phase 1: cosine_restarts restarts after 20 epochs, and the phase has 2; `schedule.first_epochs` says when",
    ),
    "a technique that thaws all": ({"technique": {**GRADUAL, "epochs": 3}}, ""),
    "a technique that does not": (
        {"technique": GRADUAL},
        "technique gradual: stem never thawed: write more epochs, or a smaller `every`",
    ),
    "freezing that does not come to its end": (
        {"technique": {**GRADUAL, "name": "freeze_out"}},
        "technique freeze_out: stage1 never frozen: write more epochs, or a smaller `every`",
    ),
    "rates by depth": ({"technique": {"name": "discriminative", "epochs": 2}}, ""),
    "rates by depth in a recipe that was printed in full": (
        {"technique": {"name": "discriminative", "epochs": 2}, "rates": "none"},
        "technique discriminative: `rates: none` is written, so all stages have one rate; take it out",
    ),
    "a few-shot head in a recipe that was printed in full": (
        {
            "technique": {"name": "few_shot", "epochs": 2},
            "head": "linear",
            "augment": {"policy": "light", "flip": "none"},
        },
        "technique few_shot: `head: linear` is written and stands; take it out for the few-shot head",
    ),
    "batches together, norms held": ({"phases": HELD, "accumulate": 2}, ""),
    "batches together, norms trained": (
        {"phases": TRAINED, "accumulate": 2},
        "accumulate: BatchNorm that is trained (bn1 …) takes statistics of each batch alone, not of all "
        "that make a step",
    ),
    "restarts after a warm-up": (
        {"schedule": {"name": "cosine_restarts", "first_epochs": 1}, "warmup": 1},
        "phase 1: cosine_restarts restarts after 2 epochs, and the phase has 2; `schedule.first_epochs` says when",
    ),
    "momentum": ({"optimizer": {"name": "sgd", "momentum": 0.5}}, ""),
    "momentum that is moved": (
        {"optimizer": {"name": "sgd", "momentum": 0.5}, "schedule": "one_cycle"},
        "phase 1: optimizer.momentum: 0.5 changes nothing: one_cycle moves it between 0.85 and 0.95",
    ),
    "O2": ({"amp": "O2", "precision": "bf16"}, ""),
    "O2 where all is trained": (
        {"phases": TRAINED, "amp": "O2", "precision": "bf16"},
        "amp: O2 changes nothing: no phase holds anything that could be cast",
    ),
}


@pytest.mark.parametrize(("keys", "says"), TOLD.values(), ids=TOLD.keys())
def test_what_changes_nothing_is_told(keys: dict[str, Any], says: str, tmp_path: Path) -> None:
    words = tiny_recipe(tmp_path).model_dump(mode="json", exclude_unset=True)
    if "technique" in keys:
        del words["phases"]  # it stands in their place
    assert list(assemble(Recipe.model_validate({**words, **keys})).warnings) == [says] * bool(says)


def test_what_was_frozen_beforehand_is_no_matter_of_a_technique(tmp_path: Path) -> None:
    network = "def begin(self):\n    self.conv1.weight.requires_grad = self.bn1.weight.requires_grad = False\n"
    words = tiny_recipe(tmp_path, network=f"{network}    self.bn1.bias.requires_grad = False").model_dump(mode="json")
    del words["phases"]
    warnings = assemble(Recipe.model_validate({**words, "technique": {**GRADUAL, "epochs": 3}})).warnings
    assert not any("never thawed" in line for line in warnings)
