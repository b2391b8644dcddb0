"""The moving average of the weights: what is judged and kept, without what is held."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from frostline.recipe import assemble, finetune, load_recipe
from training.by_hand import SEED, by_hand, phases
from training.tiny import read_pictures, twin_at_start, write_recipe


@pytest.mark.recipe
def test_the_average_is_what_is_judged_and_kept_and_held_tensors_are_not_in_it(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, phases=phases(), ema=0.9, replay="off")
    record = finetune(load_recipe(str(path)), out=tmp_path / "run")
    twin = twin_at_start(SEED)
    before = {name: tensor.clone() for name, tensor in twin.state_dict().items()}
    averages = {name: tensor.clone() for name, tensor in before.items()}
    steps = 0

    class Averaged(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            nonlocal steps
            super().step(closure)
            steps += 1
            decay = min(0.9, (1 + steps) / (10 + steps))
            for name, tensor in twin.state_dict().items():
                if tensor.is_floating_point():
                    averages[name] = decay * averages[name] + (1 - decay) * tensor
                else:
                    averages[name] = tensor.clone()

    by_hand(path, twin, optimizer=lambda groups: Averaged(groups, lr=0.05, momentum=0.9), lr=lambda _: 0.05)
    found = load_file(tmp_path / "run/checkpoints/last.safetensors")
    for name, tensor in averages.items():
        if name.startswith(("conv1", "bn1")):
            assert torch.equal(found[name], before[name]), name
        else:
            torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-6)
    twin.load_state_dict({**averages, **{name: found[name] for name in before if name.startswith(("conv1", "bn1"))}})
    samples = assemble(load_recipe(str(path))).data.val
    assert samples is not None
    with torch.no_grad():
        logits = twin.eval()(read_pictures(samples.paths))
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(samples.labels)).item()
    assert record.epochs[-1].val_loss == pytest.approx(loss, rel=1e-4)
    assert record.proof is not None
    assert record.proof["ok"]
