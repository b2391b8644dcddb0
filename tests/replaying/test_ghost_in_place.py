"""What a loop does to a batch in place stays done, for the network and for whoever looks at the batch later."""

import copy
import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import frostline
from frostline.replaying import replay
from frostline.replaying.ghosts.ghost import Ghost

from .parents import Parent
from .test_ghost import Pictures
from .trial import Trial, images, refusal

Work = Callable[[nn.Module, Any], Any]


def _step(work: Callable[[Tensor], Any]) -> Work:
    """Do something to the images, without rebinding them, and run the network."""

    def step(network: nn.Module, batch: Any) -> Any:
        work(batch[0])
        return network(batch[0])

    return step


def _each(images: Tensor) -> None:
    for image in images:
        image.mul_(2)


def _cutout(images: Tensor) -> None:
    images[:, :, :4] = 0


def _rebound_data(images: Tensor) -> None:
    images.data = images.data * 2


def _as_arrays(images: Tensor) -> None:
    images.numpy()[:] *= 2


def _through_a_view(images: Tensor) -> None:
    first = images[0]
    images.mean()
    first.mul_(2)


def _shrink(images: Tensor) -> None:
    images.resize_(2, 3, 64, 64)
    assert len(images) == 2
    assert images.shape == (2, 3, 64, 64)


def _count(images: Tensor) -> None:
    known, number = {images: 1}, hash(images)
    images.mul_(2)
    assert (images._version, hash(images), known[images]) == (1, number, 1)


class _InPlace(nn.Module):
    def forward(self, images: Tensor) -> None:
        images.sub_(0.5).div_(2)


def _fast_sign(network: nn.Module, batch: Any) -> Any:
    images, _ = batch
    images.requires_grad = True
    (gradient,) = torch.autograd.grad(network(images).square().sum(), images)
    return network(images.detach() + 0.1 * gradient.sign())


def _fast_sign_by_grad(network: nn.Module, batch: Any) -> Any:
    images, _ = batch
    images.requires_grad_()
    network(images).square().sum().backward()
    return network(images.detach() + 0.1 * images.grad.sign())


def _adversary(network: nn.Module, batch: Any) -> Any:
    images, _ = batch
    moved = images.detach().requires_grad_(True)
    assert not images.requires_grad
    network(moved).square().sum().backward()
    assert images.grad is None
    return network(images + 0.1 * moved.grad.sign())


def _parameter(network: nn.Module, batch: Any) -> Any:
    images, _ = batch
    patch = nn.Parameter(images)
    network(patch).square().sum().backward()
    torch.optim.SGD([patch], lr=10.0).step()
    return network(images)


def _scripted_gradient(network: nn.Module, batch: Any) -> Any:
    images, _ = batch
    images.requires_grad_()
    network(_squared(images)).square().sum().backward()
    return network(images.detach() + images.grad.sign())


def _mapped_gradient(network: nn.Module, batch: Any) -> Any:
    images, _ = batch
    images.requires_grad_()
    network(torch.vmap(lambda one: one * one - one.mean())(images)).square().sum().backward()
    return network(images.detach() + images.grad.sign())


# torch's own scripts, as old recipes have them; written so that torch does not warn of the verb.
def _script(code: str, name: str) -> Callable[[Tensor], Any]:
    return getattr(torch.jit.CompilationUnit(code), name)  # type: ignore[no-any-return]


_squared = _script("def squared(images):\n    return (images * images - 0.5) / 2.0\n", "squared")
_written = _script("def written(images):\n    images.sub_(0.5).div_(2.0)\n    return images\n", "written")


STEPS: dict[str, Work] = {
    "normalised": _step(lambda images: images.sub_(0.5).div_(2)),
    "a part set to zero": _step(_cutout),
    "written by an operation with a target": _step(lambda images: torch.mul(images, 2, out=images)),
    "by its data": _step(_rebound_data),
    "in its data": _step(lambda images: images.data.mul_(2)),
    "image by image": _step(_each),
    "through a view kept for later": _step(_through_a_view),
    "as an array": _step(_as_arrays),
    "as an array that shares": _step(
        lambda images: numpy.multiply(numpy.asarray(images), 2, out=numpy.asarray(images))
    ),
    "through another library": _step(lambda images: torch.from_dlpack(images).mul_(2)),
    "in memory": _step(lambda images: ctypes.memset(images.data_ptr(), 0, 400)),
    "by a list of tensors": _step(lambda images: torch._foreach_mul_([images], 2.0)),
    "set to another": _step(lambda images: images.set_(images * 2)),
    "copied into": _step(lambda images: images.copy_(torch.ones(images.shape))),
    "resized": _step(_shrink),
    "counted and known": _step(_count),
    "by a module that gives nothing": _step(_InPlace()),
    "by an operation called below torch's interface": _step(lambda images: torch.ops.aten.mul_(images, 2.0)),
    "by a script": _step(_written),
    "by vmap": _step(torch.vmap(lambda image: image.mul_(2))),
    "by a script that gives another": lambda network, batch: network(_squared(batch[0])),
    "by vmap that gives another": lambda network, batch: network(torch.vmap(lambda one: one - one.mean())(batch[0])),
    "with a gradient by attribute": _fast_sign,
    "with a gradient": _fast_sign_by_grad,
    "with a gradient of what shares": _adversary,
    "with a gradient through a script": _scripted_gradient,
    "with a gradient through vmap": _mapped_gradient,
    "as a parameter": _parameter,
}


@pytest.mark.parametrize("name", STEPS)
def test_what_a_loop_does_to_the_batch_in_place_is_done(name: str, tmp_path: Path) -> None:
    network = Parent().eval()
    handle = frostline.freeze(network, "all", example_input=images(2))
    loader = DataLoader(Pictures(), batch_size=4)
    replayed = replay(handle, loader, dir=tmp_path)
    assert replayed.refused is None
    # All batches are there before anything is done to the first.
    expected, found = (
        [(STEPS[name](network, batch).detach(), batch[0].detach()) for batch in list(batches)]
        for batches in (loader, replayed)
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1] + 0, theirs[1])
    assert "before they reach the network" in str(replayed.refused)


COPIES: dict[str, tuple[Callable[[Tensor], Tensor], bool]] = {
    "detach": (lambda ghost: ghost.detach(), True),
    "detach twice": (lambda ghost: ghost.detach().detach(), True),
    "data": (lambda ghost: ghost.data, True),
    "contiguous": (lambda ghost: ghost.contiguous(), True),
    "to the same place": (lambda ghost: ghost.to("cpu", torch.float32), True),
    "float": (lambda ghost: ghost.float(), True),
    "clone": (lambda ghost: ghost.clone(), False),
    "clone of what shares": (lambda ghost: ghost.detach().clone(), False),
    "deepcopy": (copy.deepcopy, False),
    "to with a copy": (lambda ghost: ghost.to("cpu", copy=True), False),
    "to with a copy by place": (lambda ghost: ghost.to("cpu", torch.float32, False, True), False),
    "channels last": (lambda ghost: ghost.to(memory_format=torch.channels_last), False),
    "contiguous in channels last": (lambda ghost: ghost.contiguous(memory_format=torch.channels_last), False),
}


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("first", ["the batch", "the other"])
def test_what_shares_memory_sees_what_is_written_and_a_copy_does_not(name: str, first: str) -> None:
    trial = Trial(Parent())
    (made, shares), outcomes = COPIES[name], []
    for one in (trial.ghosts([2, 0])[0], trial.computed([2, 0])[0]):
        other = made(one)
        assert type(other) is type(one)
        (one if first == "the batch" else other).mul_(2)
        outcomes.append((one + 0, other + 0, other.stride(), other is one))
    for ours, theirs in zip(*outcomes, strict=True):
        assert torch.equal(ours, theirs) if isinstance(ours, Tensor) else ours == theirs
    assert torch.equal(outcomes[0][0], outcomes[0][1]) is shares


def test_what_is_set_anew_leaves_what_shared_the_old_memory() -> None:
    ghost, real = Trial(Parent()).ghosts([2, 0])[0], Trial(Parent()).computed([2, 0])[0]
    shared = ghost.detach()
    ghost.data = ghost * 2
    assert torch.equal(shared + 0, real)
    assert torch.equal(ghost + 0, real * 2)


@pytest.mark.parametrize("name", COPIES)
def test_an_untouched_copy_is_replayed(name: str) -> None:
    trial = Trial(Parent())
    trial.network.eval()
    ghost = COPIES[name][0](trial.ghosts([0, 1, 2])[0])
    assert isinstance(ghost, Ghost)
    torch.testing.assert_close(trial.network(ghost), trial.network(trial.computed([0, 1, 2])[0]))
    assert (trial.replayer.replayed, trial.replayer.refused, trial.reals) == (1, None, 0)


def test_a_ghost_that_something_worked_on_is_not_replayed_and_reads_its_samples_once() -> None:
    trial = Trial(Parent())
    trial.network.eval()
    ghost, real = trial.ghosts([2, 0])[0], trial.computed([2, 0])[0].mul_(3)
    ghost.mul_(3)
    assert torch.equal(trial.network(ghost), trial.network(real))
    assert torch.equal(trial.network(ghost), trial.network(real))
    assert (trial.replayer.replayed, trial.reals, ghost.ticket) == (0, 1, None)
    assert "before they reach the network" in str(trial.replayer.refused)
    assert repr(ghost) == repr(real)


def test_a_tensor_made_in_inference_mode_can_be_trained_on_later() -> None:
    ghost = Trial(Parent()).ghosts([2, 0])[0]
    with torch.inference_mode():
        ghost.mean()
    ghost.requires_grad_().square().sum().backward()
    assert torch.equal(ghost.grad, 2 * ghost.detach())


def test_batches_put_together_of_a_changed_one_have_the_change() -> None:
    trial = Trial(Parent())
    ghost, real = trial.ghosts([2, 0])[0], trial.computed([2, 0])[0]
    other = ghost.clone()
    other.mul_(2)
    assert torch.equal(torch.cat([ghost, other]), torch.cat([real, real * 2]))
    kept = torch.cat([ghost, ghost])
    ghost.mul_(3)
    assert torch.equal(kept + 0, torch.cat([real, real]))


WRITERS: dict[str, Callable[[Parent, Tensor], Tensor]] = {
    "whole": lambda network, images: images.mul_(0.5),
    "a view": lambda network, images: (images[:, 0].mul_(0.5), images)[1],
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_network_that_writes_into_its_samples_is_not_replayed(name: str) -> None:
    # The loop may give it the same batch again.
    assert "writes into the samples" in refusal(Parent(first=WRITERS[name]))


def test_a_network_that_writes_into_a_copy_of_its_samples_is_replayed() -> None:
    Trial(Parent(first=lambda network, images: images.clone().mul_(0.5))).assert_exact()


@dataclass(frozen=True)
class Given:
    """An object that holds images."""

    images: Any


class Unpacking(Parent):
    """Takes images, or an object that holds them."""

    def forward(self, images: Any) -> Any:
        found = images.images if isinstance(images, Given) else images
        return super().forward(found[0] if isinstance(found, list) else found)


@pytest.mark.parametrize("wrap", [Given, lambda images: Given([images])], ids=["itself", "in a list"])
def test_an_object_with_the_images_is_computed_with_the_real_ones(wrap: Callable[[Tensor], Any]) -> None:
    trial = Trial(Unpacking())
    trial.network.eval()
    ghost, real = trial.ghosts([2, 0])[0], trial.computed([2, 0])[0]
    assert torch.equal(trial.network(wrap(ghost)), trial.network(wrap(real)))
    assert "called with other things than in the probe" in str(trial.replayer.refused)
    assert trial.reals == 1
