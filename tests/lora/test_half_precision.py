"""Adapters of a network in half precision are in single precision: steps of a usual size must not be lost in them."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn

from frostline.freezing import freeze
from frostline.lora import Kind, adapt, load_adapters, merged, save_adapters
from frostline.optimization import param_groups


def network(dtype: torch.dtype = torch.bfloat16) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)).to(dtype)


def features(dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.randn(4, 8, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["lora", "dora", "ia3"])
def test_adapters_are_in_single_precision(kind: Kind, dtype: torch.dtype):
    net = network(dtype)
    before = net(features(dtype))

    adapt(net, "all", rank=2, kind=kind)

    types = {parameter.dtype for name, parameter in net.named_parameters() if "lora_" in name or "ia3_" in name}
    assert types == {torch.float32}
    assert net[2].weight.dtype == net[0].get_submodule("base_layer").weight.dtype == dtype
    after = net(features(dtype))
    assert after.dtype == dtype
    # DoRA computes the norm of the weights anew, and rounds.
    assert torch.equal(after, before) if kind != "dora" else torch.allclose(after, before, rtol=2e-2, atol=2e-2)


def test_a_step_that_half_precision_would_lose_is_kept():
    net = network()
    adapt(net, "all", rank=2)
    handle = freeze(net, match=["*"])
    optimizer = torch.optim.AdamW(param_groups(net, handle.plan, lr=1e-5, weight_decay=0.0))
    weight = net[0].get_submodule("lora_A.default").weight
    before = weight.detach().clone()
    for _ in range(2):  # the gradient of the first matrix is zero in the first step
        optimizer.zero_grad()
        net(features()).float().square().sum().backward()
        optimizer.step()

    moved = (weight - before).abs()

    # By about the rate, as Adam does: far below what bfloat16 tells apart beside numbers of this size.
    assert 0.5e-5 < moved.max() < 2e-5
    assert (before.to(torch.bfloat16) - before.to(torch.bfloat16).add(1e-5)).abs().median() == 0


def test_saved_loaded_and_merged_it_stays_the_network(tmp_path: Path):
    net = network()
    adapt(net, "all", rank=2)
    handle = freeze(net, match=["*"])
    nn.init.normal_(net[0].get_submodule("lora_B.default").weight, std=0.1)
    expected = net(features())

    save_adapters(net, tmp_path, held=handle.plan.held_everywhere)
    handle.lift()
    other = network()
    load_adapters(other, tmp_path)

    assert torch.equal(other(features()), expected)
    assert other[0].get_submodule("lora_A.default").weight.dtype == torch.float32
    assert torch.equal(PeftModel.from_pretrained(network(), tmp_path)(features()), expected)
    whole = merged(net)
    assert whole[0].weight.dtype == torch.bfloat16
    assert torch.allclose(whole(features()), expected, rtol=2e-2, atol=2e-2)
