"""What is held does not move by one bit, however it is trained beside: compared by hand, and not by the proof."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from frostline.freezing import FreezePlan
from frostline.recipe import assemble, finetune, run
from frostline.training import compiling
from training.by_hand import SEED, phases
from training.tiny import Twin, read_pictures, tiny_recipe, twin_at_start

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


@pytest.mark.recipe
def test_what_is_held_keeps_its_bits_and_what_is_trained_moves(tmp_path: Path) -> None:
    torch.manual_seed(1)
    start = Twin(num_classes=5)
    with torch.no_grad():
        start.bn1.running_mean.fill_(0.1)
        start.bn1.running_var.fill_(0.9)
        start.bn1.num_batches_tracked.fill_(7)
    save_file(start.state_dict(), tmp_path / "start.safetensors")
    words = {"name": f"{tmp_path}/net.py:Net", "weights": "start.safetensors"}
    recipe = tiny_recipe(tmp_path, model=words, phases=phases(epochs=1))
    record = finetune(recipe, out=tmp_path / "run")
    before = start.state_dict()
    for name in ("best", "last"):
        after = load_file(tmp_path / f"run/checkpoints/{name}.safetensors")
        same = {tensor for tensor in before if torch.equal(before[tensor], after[tensor])}
        assert same == {tensor for tensor in before if tensor.startswith(("conv1.", "bn1."))}
    assert record.proof is not None
    assert record.proof["ok"]


@pytest.mark.recipe
def test_norm_train_moves_statistics_of_held_parts_and_no_weight(tmp_path: Path) -> None:
    finetune(tiny_recipe(tmp_path, "norm=train"), out=tmp_path / "run")
    start, after = twin_at_start(SEED).state_dict(), load_file(tmp_path / "run/checkpoints/last.safetensors")
    for name in ("conv1.weight", "bn1.weight", "bn1.bias"):
        assert torch.equal(start[name], after[name])
    for name in ("bn1.running_mean", "bn1.running_var", "bn1.num_batches_tracked"):
        assert not torch.equal(start[name], after[name])


@pytest.mark.recipe
@pytest.mark.parametrize("weights", ["a file", "none"])
def test_norm_refill_fills_statistics_and_then_holds_them(weights: str, tmp_path: Path) -> None:
    start = twin_at_start(SEED, num_classes=5)
    model: dict[str, Any] = {"name": f"{tmp_path}/net.py:Net"}
    if weights == "a file":
        with torch.no_grad():
            start.bn1.weight.fill_(0.3)  # folded: no longer as torch makes it, and mean 0, variance 1
        save_file(start.state_dict(), tmp_path / "start.safetensors")
        model["weights"] = "start.safetensors"
    recipe = tiny_recipe(tmp_path, "norm=refill", model=model)
    record = finetune(recipe, out=tmp_path / "run")
    assert any("filled from 18 training pictures" in warning for warning in record.warnings)
    after = Twin()
    after.load_state_dict(load_file(tmp_path / "run/checkpoints/last.safetensors"))
    images = read_pictures(assemble(recipe).data.train.paths)
    with torch.no_grad():
        entering = start.conv1(images)
        mean, deviation = entering.mean((0, 2, 3)), entering.var((0, 2, 3), correction=0)
        torch.testing.assert_close(after.bn1.running_mean, mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(after.bn1.running_var, deviation, rtol=2e-3, atol=1e-4)
        same = (network.eval().bn1(network.conv1(images)) for network in (start, after))
        torch.testing.assert_close(*same, rtol=1e-4, atol=1e-4)
