"""What trains may be compiled; a compiled network as a whole is replayed as it is written."""

import pytest
import torch

from .parents import Parent
from .trial import Trial

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
TRAINS_C = ["c.*", "fc.*"]


class Counted:
    """A compiler that changes nothing, and counts how often its code ran."""

    def __init__(self) -> None:
        self.ran = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> object:
        def run(*args: torch.Tensor) -> object:
            self.ran += 1
            return graph.forward(*args)

        return run


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch.compiler.reset()


@pytest.mark.parametrize("how", ["in place", "wrapped"])
def test_the_trained_part_may_be_compiled(how: str) -> None:
    network, compiler = Parent(), Counted()
    if how == "in place":
        network.c.compile(backend=compiler)
    else:
        network.c = torch.compile(network.c, backend=compiler)  # type: ignore[assignment]
    before: list[int] = []
    trial = Trial(network, train=TRAINS_C, after=lambda _: before.append(compiler.ran))
    assert [compiler.ran] == before  # a probe has to see what happens
    trial.assert_exact()
    ran = compiler.ran
    trial.network(trial.ghosts([0, 1, 2])[0])
    assert compiler.ran == ran + 1
    assert trial.replayer.refused is None


def test_a_network_compiled_in_place_is_replayed() -> None:
    network = Parent()
    network.compile(backend=Counted())
    Trial(network, train=TRAINS_C).assert_exact()


def test_a_network_compiled_as_a_whole_is_replayed() -> None:
    trial = Trial(Parent(), train=TRAINS_C)
    compiled = torch.compile(trial.network, backend=Counted())
    trial.network.eval()
    for entries in ([0, 1, 2], [3, 1]):
        expected = trial.network(trial.computed(entries)[0])
        found = compiled(trial.ghosts(entries)[0])
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert (trial.replayer.refused, trial.replayer.replayed) == (None, 2)


def test_a_network_that_is_no_longer_replayed_compiles_as_ever() -> None:
    trial = Trial(Parent(), train=TRAINS_C)
    trial.handle.lift()
    compiler = Counted()
    compiled = torch.compile(trial.network, backend=compiler, fullgraph=True)
    images = trial.computed([0, 1])[0]
    trial.network.eval()
    assert torch.equal(compiled(images), trial.network(images))
    assert compiler.ran == 1
