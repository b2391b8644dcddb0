"""torch.compile in recipes: compiled anew in each phase, and what is frozen is held as ever."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from frostline.recipe import finetune
from frostline.training import runtime
from training.tiny import tiny_recipe

PHASES = [
    {"epochs": 2, "freeze": "all", "lr": 0.05},
    {"epochs": 1, "freeze": "none", "lr": 0.05},
    {"epochs": 2, "freeze": {"through": "stem"}, "lr": 0.05},
]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


class Counted:
    """A compiler that changes nothing, and counts how often its code ran with gradients."""

    def __init__(self) -> None:
        self.ran = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        def run(*args: torch.Tensor) -> Any:
            self.ran += torch.is_grad_enabled()
            return graph.forward(*args)

        return run


@pytest.mark.recipe
@pytest.mark.parametrize("replay", ["off", "auto"])
def test_every_phase_runs_compiled_and_holds(replay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler, ran = Counted(), []
    monkeypatch.setattr(runtime, "COMPILER", compiler)

    recipe = tiny_recipe(tmp_path, phases=PHASES, replay={"use": replay, "dir": str(tmp_path / "store")})
    plain = finetune(recipe, out=tmp_path / "plain")
    assert compiler.ran == 0
    wrapped = runtime.Runtime.wrapped

    def counted(*args: Any, **keys: Any) -> Any:
        ran.append(compiler.ran)
        return wrapped(*args, **keys)

    monkeypatch.setattr(runtime.Runtime, "wrapped", counted)
    record = finetune(recipe.model_copy(update={"compile": True}), out=tmp_path / "compiled")
    ran.append(compiler.ran)
    assert all(after > before for before, after in pairwise(ran)), ran
    assert record.proof["ok"]
    assert record.digests["start"] == plain.digests["start"]
    for mine, theirs in zip(record.epochs, plain.epochs, strict=True):
        assert mine.train_loss == pytest.approx(theirs.train_loss, rel=1e-5)
        assert mine.metrics == theirs.metrics


@pytest.mark.recipe
def test_a_network_is_given_back_uncompiled() -> None:
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with runtime.Runtime(device="cpu", compiles=True).wrapped(network, optimizer):
        assert network._compiled_call_impl is not None
    assert network._compiled_call_impl is None
