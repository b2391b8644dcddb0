"""torch.compile in recipes: compiled anew in each phase, and what is frozen is held and looked up as ever."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from frostline.freezing import freeze
from frostline.recipe import finetune, run
from frostline.training import compiling
from training.tiny import Twin, tiny_recipe

PHASES = [
    {"epochs": 2, "freeze": "all", "lr": 0.05},
    {"epochs": 1, "freeze": "none", "lr": 0.05},
    {"epochs": 2, "freeze": {"through": "stem"}, "lr": 0.05},
]
# Modules without tensors, in which replay would watch.
NETWORK = """
def begin(self):
    self.conv2 = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False), nn.ReLU(), nn.MaxPool2d(2))
    self.fc = nn.Sequential(nn.Dropout(0.0), nn.Linear(8, 5))
"""

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


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    counted = Counted()
    monkeypatch.setattr(compiling, "COMPILER", counted)
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        yield counted
    torch.compiler.reset()


@pytest.mark.recipe
@pytest.mark.parametrize("replay", ["off", "auto"])
def test_every_phase_runs_compiled_and_holds(
    replay: str, compiler: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, ran = run.run_phase, [0]

    def counted(*args: Any, **keys: Any) -> Any:
        result = train(*args, **keys)
        ran.append(compiler.ran)
        return result

    monkeypatch.setattr(run, "run_phase", counted)
    store = {"use": replay, "dir": str(tmp_path / "store")}
    recipe = tiny_recipe(tmp_path, network=NETWORK, phases=PHASES, replay=store)
    plain = finetune(recipe, out=tmp_path / "plain")
    assert ran.pop() == compiler.ran == 0
    del ran[1:]
    record = finetune(recipe.model_copy(update={"compile": True}), out=tmp_path / "compiled")
    head, everything, last = (after - before for before, after in pairwise(ran))
    assert everything >= 5  # once a step at least
    assert last >= 10
    assert ["recorded" in " ".join(phase.replay) or "already" in " ".join(phase.replay) for phase in record.phases] == [
        replay == "auto", False, replay == "auto"
    ]  # fmt: skip
    nothing = [line for line in record.warnings if "nothing to compile" in line]
    assert (head, len(nothing)) == (0, 1) if replay == "auto" else head >= 10
    assert record.proof["ok"]
    assert record.digests["start"] == plain.digests["start"]
    for mine, theirs in zip(record.epochs, plain.epochs, strict=True):
        assert mine.train_loss == pytest.approx(theirs.train_loss, rel=1e-5)
        assert mine.metrics == theirs.metrics


def test_a_network_is_given_back_uncompiled_also_after_an_error() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    found = []

    def fails() -> None:
        with compiling.compiled(network, ["0"]):
            found.append(network[0]._compiled_call_impl)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert found != [None]
    assert network[0]._compiled_call_impl is None
    with compiling.compiled(network, []):
        assert network[0]._compiled_call_impl is None


def test_what_is_compiled_beside_what_is_looked_up() -> None:
    handle = freeze(Twin(), through="stem", example_input=torch.zeros(1, 3, 16, 16))
    assert compiling.trained_regions(handle.plan) == ("conv2", "bn2")
