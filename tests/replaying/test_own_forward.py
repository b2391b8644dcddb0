"""A replayed network stays the user's: hooks, attributes, copies, and its own forward afterwards."""

import copy
import inspect
import io
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from .parents import Parent, Wired, block
from .tiny import Net
from .trial import Trial, images

TRAINS_C = ["c.*", "fc.*"]


def test_hooks_on_held_and_trained_modules_still_run() -> None:
    network = Parent()
    seen: list[str] = []
    for name in ("a", "b.1", "c", "c.0", "fc"):
        network.get_submodule(name).register_forward_hook(lambda *_, name=name: seen.append(name))
    trial = Trial(network, train=TRAINS_C).assert_exact()
    seen.clear()
    trial.network(trial.ghosts([0, 1])[0])
    assert (trial.replayer.refused, seen) == (None, ["a", "b.1", "c.0", "c", "fc"])


def test_a_hook_that_collects_features_gets_them() -> None:
    network = Parent()
    seen: list[Tensor] = []
    network.b[0].register_forward_hook(lambda module, args, output: seen.append(output))
    trial = Trial(network, train=TRAINS_C)
    seen.clear()
    trial.outputs([0, 1, 2])
    assert trial.replayer.replayed == 1
    assert torch.equal(seen[0], seen[1])


def test_a_hook_that_reads_values_gets_them() -> None:
    network = Parent()
    seen: list[float] = []
    network.a.register_forward_pre_hook(lambda module, args: None)
    network.b.register_forward_hook(lambda module, args, output: seen.append(output.mean().item()))
    trial = Trial(network, train=TRAINS_C)
    seen.clear()
    trial.outputs([0, 1, 2])
    assert seen[0] == seen[1]


def test_a_hook_on_a_part_that_is_not_run_any_more_ends_replay() -> None:
    trial = Trial(Parent(), train=TRAINS_C).assert_exact()
    trial.network.b[0].register_forward_hook(lambda *_: None)
    trial.assert_falls_back("a hook was put on b.0")


def test_an_attribute_that_a_held_module_keeps_is_never_an_old_one() -> None:
    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)
            self.norm = block(8)
            self.features: Any = None

        def forward(self, x: Tensor) -> Tensor:
            self.features = self.conv(x)
            return self.norm(self.features)

    network = Wired(lambda net, x: net.fc(net.held(x).mean((2, 3))), held=Keeps(), fc=nn.Linear(8, 2))
    trial = Trial(network, train=["fc.*"]).assert_exact()
    network(trial.ghosts([4, 5])[0])
    kept = network.held.features
    network(trial.computed([4, 5])[0])
    torch.testing.assert_close(kept, network.held.features, rtol=1e-5, atol=1e-5)


def test_copies_and_pickles_of_a_replayed_network_have_their_own_forward() -> None:
    trial = Trial(Parent(), train=TRAINS_C).assert_exact()
    trial.network.eval()
    image = trial.computed([0, 1])[0]
    expected = trial.network(image)
    copied = copy.deepcopy(trial.network)
    assert torch.equal(copied(image), expected)
    assert not any(type(module.__dict__.get("forward")).__name__ == "StandIn" for module in copied.modules())
    with torch.no_grad():
        copied.fc.weight.zero_()
    assert torch.equal(trial.network(image), expected)
    trial.network._steps = {}  # lambdas cannot be pickled
    file = io.BytesIO()
    torch.save(trial.network, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(image), expected)


def test_the_state_dict_stays_as_it_was_and_lifting_gives_every_forward_back() -> None:
    network = Parent()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    trial = Trial(network)
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert list(network.state_dict()) == list(state)
    trial.handle.lift()
    assert not any("forward" in vars(module) for module in network.modules())
    computed = network.eval()(trial.computed([0, 1])[0])
    assert torch.equal(network(trial.ghosts([0, 1])[0]), computed)


def test_somebody_elses_forward_on_the_instance_comes_back() -> None:
    network = Parent()
    inner = network.b.forward

    def wrapped(x: Tensor) -> Tensor:
        return inner(x) * 2

    network.b.forward = wrapped  # type: ignore[method-assign]
    trial = Trial(network, train=TRAINS_C).assert_exact()
    trial.handle.lift()
    assert network.b.forward is wrapped


def test_a_replayed_forward_has_the_signature_of_its_own() -> None:
    trial = Trial(Parent(), train=TRAINS_C)
    assert list(inspect.signature(trial.network.forward).parameters) == ["images"]
    assert list(inspect.signature(trial.network.b.forward).parameters) == ["input"]


def test_a_replayed_network_is_exported_and_traced_as_it_computes() -> None:
    trial = Trial(Net(), images(side=12), train=["head.*"])
    network = trial.network.eval()
    image = trial.computed([0, 1])[0]
    expected = network(image)
    torch.testing.assert_close(torch.export.export(network, (image,)).module()(image), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather not trace any more
        torch.testing.assert_close(torch.jit.trace(network, image)(image), expected)
