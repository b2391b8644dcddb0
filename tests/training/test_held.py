"""What is held does not move by one bit, however it is trained beside: compared by hand, and not by the proof."""

from pathlib import Path
from typing import Any

import pytest
import torch

from frostline.freezing import FreezePlan
from frostline.recipe import finetune, run
from frostline.training import compiling
from training.tiny import tiny_recipe

# Everything first, so that the optimizer knows what is frozen again later; the rate is high, and so is the decay.
PHASES = [
    {"epochs": 1, "freeze": "none", "lr": 0.05},
    {"epochs": 1, "freeze": {"through": "stem"}, "lr": 0.05},
    {"epochs": 1, "freeze": "all", "lr": 0.05},
    {"epochs": 1, "freeze": {"through": "stem"}, "lr": 0.05},
]
SGD = {"name": "sgd", "momentum": 0.9, "weight_decay": 0.5}
WAYS: dict[str, dict[str, Any]] = {
    "weight decay and momentum": {"optimizer": SGD},
    "adamw": {"optimizer": {"name": "adamw", "weight_decay": 0.5}},
    "averages": {"optimizer": SGD, "ema": 0.9},
    "O1": {"optimizer": SGD, "precision": "bf16"},
    "O2": {"optimizer": SGD, "precision": "bf16", "amp": "O2"},
    "accumulation": {"optimizer": SGD, "accumulate": 2, "clip_norm": 0.1},
    "compiled": {"optimizer": SGD, "compile": True},
    "gradient checkpointing": {"optimizer": SGD, "gradient_checkpointing": True},
    "all at once": {
        "optimizer": SGD,
        "ema": 0.9,
        "accumulate": 2,
        "precision": "bf16",
        "amp": "O2",
        "head": "few_shot",
    },
}
BLOCKS = """
def begin(self):
    self.conv1 = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Dropout2d(0.1))
    self.conv2 = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False), nn.Dropout2d(0.1))
"""


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[tuple[FreezePlan, set[str]]]:
    """For each phase its plan, and the names of all tensors that are not as they were when it began."""
    found: list[tuple[FreezePlan, set[str]]] = []
    train = run.run_phase

    def watched(model: torch.nn.Module, plan: FreezePlan, *args: Any, **keys: Any) -> Any:
        before = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        result = train(model, plan, *args, **keys)
        after = model.state_dict()
        found.append((plan, {name for name in after if not torch.equal(after[name], before[name])}))
        return result

    monkeypatch.setattr(run, "run_phase", watched)
    monkeypatch.setattr(compiling, "COMPILER", "aot_eager")
    return found


@pytest.mark.recipe
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("replay", ["auto", "off"])
@pytest.mark.parametrize("keys", WAYS.values(), ids=WAYS.keys())
def test_only_what_is_trained_moves(keys: dict[str, Any], replay: str, moved: Any, tmp_path: Path) -> None:
    store = {"use": replay, "dir": str(tmp_path / "store")}
    recipe = tiny_recipe(tmp_path, network=BLOCKS, phases=PHASES, replay=store, **keys)
    finetune(recipe, out=tmp_path / "run")
    assert len(moved) == len(PHASES)
    for plan, names in moved:
        assert names & plan.held_everywhere == set()
        assert names >= plan.trained_names
