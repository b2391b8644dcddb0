"""bf16 in every phase, and half weights of what is held: the bits of casting in every step."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from frostline.errors import ProofError
from frostline.recipe import assemble, finetune, load_recipe
from training.by_hand import phases
from training.tiny import tiny_recipe, write_recipe


@pytest.mark.recipe
def test_bf16_on_the_cpu_computes_otherwise_and_holds_the_same(tmp_path: Path) -> None:
    runs = {precision: tmp_path / precision for precision in ("fp32", "bf16")}
    records = {
        precision: finetune(tiny_recipe(tmp_path, f"precision={precision}", "device=cpu", phases=phases()), out=out)
        for precision, out in runs.items()
    }
    states = {precision: load_file(out / "checkpoints/last.safetensors") for precision, out in runs.items()}
    assert torch.equal(states["fp32"]["conv1.weight"], states["bf16"]["conv1.weight"])
    assert not torch.equal(states["fp32"]["fc.weight"], states["bf16"]["fc.weight"])
    assert {tensor.dtype for tensor in states["bf16"].values()} == {torch.float32, torch.int64}
    assert records["bf16"].status == "finished"
    assert records["bf16"].proof is not None
    assert records["bf16"].proof["ok"]
    losses = [[epoch.train_loss for epoch in record.epochs] for record in records.values()]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


@pytest.mark.recipe
def test_every_phase_computes_in_bf16(tmp_path: Path) -> None:
    types = tmp_path / "types"
    told = f"def between(self, x):\n    with open('{types}', 'a') as file:\n        print(x.dtype, file=file)\n"
    told += "    return x"
    two = [*phases(epochs=1), *phases(epochs=2, lr=0.01)]
    recipe = tiny_recipe(
        tmp_path, "precision=bf16", "device=cpu", "replay=off", "data.val=null", network=told, phases=two
    )
    finetune(recipe, out=tmp_path / "run")
    steps = -(-24 // 4) * 3
    assert types.read_text().split().count("torch.bfloat16") == steps


@pytest.mark.recipe
@pytest.mark.parametrize("norm", ["eval", "train"])
def test_half_weights_of_what_is_held_give_the_bits_of_casting_in_every_step(norm: str, tmp_path: Path) -> None:
    """O2 is O1 with the cast done once; afterwards what was held is what it was, to the bit."""
    two = [*phases(freeze="all"), {"epochs": 2, "freeze": {"through": "stem"}, "lr": 0.01}]
    started = load_recipe(str(write_recipe(tmp_path, phases=two)))
    before = assemble(started).model.state_dict()
    for amp in ("O1", "O2"):
        recipe = tiny_recipe(tmp_path, phases=two, precision="bf16", amp=amp, norm=norm, replay="off")
        record = finetune(recipe, out=tmp_path / amp)
        assert record.proof is not None
        assert record.proof["ok"]
    found = [load_file(tmp_path / amp / "checkpoints/last.safetensors") for amp in ("O1", "O2")]
    for name, tensor in found[0].items():
        assert found[1][name].dtype == torch.float32 or name.endswith("num_batches_tracked")
        assert torch.equal(tensor, found[1][name]), name
    assert torch.equal(found[1]["conv1.weight"], before["conv1.weight"])


@pytest.mark.recipe
def test_half_weights_are_replayed_to_what_is_computed(tmp_path: Path) -> None:
    two = [*phases(freeze={"through": "stage1"}), {"epochs": 2, "freeze": {"through": "stem"}, "lr": 0.01}]
    found = []
    for name, replay in (("off", "off"), ("on", {"dir": str(tmp_path / "store")})):
        recipe = tiny_recipe(tmp_path, phases=two, precision="bf16", amp="O2", replay=replay)
        record = finetune(recipe, out=tmp_path / name)
        found.append([epoch.val_loss for epoch in record.epochs])
    assert found[0] == pytest.approx(found[1], rel=0.05)
    assert not any("refused" in line or "off" in line for phase in record.phases for line in phase.replay)


@pytest.mark.recipe
def test_what_moves_behind_the_cast_fails_the_run(tmp_path: Path) -> None:
    network = "def before(self):\n    self.n = getattr(self, 'n', 0) + self.training\n    if self.n == 24:\n"
    network += "        self.conv1.weight.data.mul_(1.5)"
    two = [*phases(), *phases()]  # in the second of them, when the first has a proof that holds
    recipe = tiny_recipe(tmp_path, phases=two, network=network, precision="bf16", amp="O2", replay="off")
    with pytest.raises(ProofError, match=r"held tensors did not move: it fails .*phase 2: conv1\.weight moved"):
        finetune(recipe, out=tmp_path / "run")
    assert not json.loads((tmp_path / "run/proof.json").read_text())["ok"]
