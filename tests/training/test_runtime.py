"""Devices and precision: what this machine has, what is asked of it, and one run after another in one process."""

import pytest
import torch
from accelerate import PartialState
from torch import nn

from frostline.errors import UserError
from frostline.training import Runtime


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        pytest.param({"device": "cuda"}, "device: cuda: no GPU that torch can use", id="cuda"),
        pytest.param({"precision": "fp16"}, "precision: fp16: no GPU", id="fp16"),
        pytest.param({"precision": "fp16", "device": "cpu"}, "write `precision: bf16`", id="fp16 on the CPU"),
        pytest.param({"precision": "fp16", "device": "cuda"}, "device: cuda: no GPU", id="both"),
    ],
)
@pytest.mark.usefixtures("no_gpu")
def test_what_this_machine_does_not_have(asked: dict[str, str], says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        Runtime(**asked)
    assert "\n" not in str(caught.value)


def test_fp16_on_the_cpu_is_refused_where_there_is_a_gpu_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UserError, match="precision: fp16"):
        Runtime(precision="fp16", device="cpu")


def loss_type(runtime: Runtime) -> torch.dtype:
    """The type in which a matrix product is computed under a runtime."""
    types = []
    inner = nn.Linear(4, 2)
    inner.register_forward_hook(lambda _, __, output: types.append(output.dtype))
    network = nn.Sequential(inner)  # what the whole network gives is turned into fp32 again
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with runtime.wrapped(network, optimizer) as (wrapped, _):
        wrapped(torch.ones(1, 4, device=runtime.device))
    return types[0]


def test_one_run_after_another_in_another_precision() -> None:
    found = [loss_type(Runtime(precision=precision, device="cpu")) for precision in ("fp32", "bf16", "fp32")]
    assert found == [torch.float32, torch.bfloat16, torch.float32]


def test_the_device_of_the_run_before_is_forgotten() -> None:
    Runtime(device="cpu")
    assert PartialState().device.type == "cpu"
    asked_before = PartialState()._cpu
    Runtime(device="auto")
    assert asked_before
    assert not PartialState()._cpu


def test_a_network_comes_back_as_it_was_and_every_phase_wraps_it_anew() -> None:
    network = nn.Linear(4, 2)
    x = torch.randn(3, 4)
    before, own = network(x), set(vars(network))
    runtime = Runtime(precision="bf16", device="cpu")
    for _ in range(2):
        with runtime.wrapped(network, torch.optim.SGD(network.parameters(), lr=0.1)) as (wrapped, _):
            assert not torch.equal(wrapped(x), before)  # 8 bits of mantissa
        assert torch.equal(network(x), before)
        assert set(vars(network)) == own


def test_the_seed_is_set() -> None:
    draws = []
    for seed in (5, 5, 6):
        Runtime(device="cpu", seed=seed)
        draws.append(torch.rand(3).tolist())
    assert draws[0] == draws[1] != draws[2]
