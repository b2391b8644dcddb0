"""Ghosts may be batched and moved; whatever else is done to them is done to what they stand for."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

import frostline
from frostline.replaying import ReplayLoader, replay
from frostline.replaying.ghosts.ghost import Ghost, has_ghost

from .parents import Parent
from .trial import Trial, images


class Pictures(Dataset[tuple[Tensor, int]]):
    """Large enough for replay to pay."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, entry: int) -> tuple[Tensor, int]:
        return torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(entry)), entry % 2


def _mixup(batch: Any) -> Any:
    images, labels = default_collate(batch)
    return 0.7 * images + 0.3 * images.flip(0), labels


def _plain(images: Tensor) -> Tensor:
    return images


LOOPS: dict[str, Callable[[Tensor], Tensor]] = {
    "mixup in the loop": lambda images: 0.7 * images + 0.3 * images[torch.arange(len(images) - 1, -1, -1)],
    "normalised on the device": lambda images: images.sub(0.5).div(0.25),
    "normalised in place": lambda images: images.sub_(0.5),
    "resized": lambda images: torch.nn.functional.interpolate(images, 32),
    "flipped": lambda images: images.flip(-1),
    "a part of the batch": lambda images: images[:2],
    "mixed by an operation with two": lambda images: torch.lerp(images, images.roll(1, 0), 0.3),
}


def _epoch(loader: Any, network: torch.nn.Module, work: Callable[[Tensor], Tensor]) -> list[Tensor]:
    network.eval()
    return [network(work(batch[0])).detach() for batch in loader]


@pytest.mark.parametrize("name", LOOPS)
def test_what_works_on_the_batch_before_the_network_ends_replay_and_is_right(name: str, tmp_path: Path) -> None:
    network = Parent()
    handle = frostline.freeze(network, "all", example_input=images(2))
    loader = DataLoader(Pictures(), batch_size=4)
    expected = _epoch(loader, network, LOOPS[name])
    replayed = replay(handle, loader, dir=tmp_path)
    assert replayed.refused is None
    found = _epoch(replayed, network, LOOPS[name])
    assert "before they reach the network" in str(replayed.refused)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
    again = _epoch(replayed, network, LOOPS[name])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(again, expected, strict=True))


def test_mixup_in_collate_is_refused_and_right(tmp_path: Path) -> None:
    network = Parent()
    handle = frostline.freeze(network, "all", example_input=images(2))
    loader = DataLoader(Pictures(), batch_size=4, collate_fn=_mixup)
    replayed = replay(handle, loader, dir=tmp_path)
    assert "is done to it before" in str(replayed.refused)
    expected = _epoch(loader, network, _plain)
    assert all(torch.equal(a, b) for a, b in zip(_epoch(replayed, network, _plain), expected, strict=True))


def test_two_loaders_on_one_handle_are_replayed_side_by_side(tmp_path: Path) -> None:
    network = Parent()
    handle = frostline.freeze(network, "all", example_input=images(2))
    loaders = [DataLoader(Pictures(), batch_size=size) for size in (4, 5)]
    expected = [_epoch(loader, network, _plain) for loader in loaders]
    found: list[ReplayLoader] = [replay(handle, loader, dir=tmp_path) for loader in loaders]
    assert [loader.refused for loader in found] == [None, None]
    for _ in range(2):
        for loader, values in zip(found, expected, strict=True):
            for ours, theirs in zip(_epoch(loader, network, _plain), values, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    handle.lift()
    lifted = _epoch(found[0], network, _plain)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(lifted, expected[0], strict=True))


def test_moving_batching_and_asking_for_the_shape_leave_a_ghost_what_it_is() -> None:
    trial = Trial(Parent())
    ghost = trial.ghosts([2, 0])[0]
    moved = ghost.to("cpu", non_blocking=True).to(torch.float32).contiguous().detach().clone().float()
    both = torch.cat([moved, trial.ghosts([5])[0]])
    assert isinstance(both, Ghost)
    assert both.ticket is not None
    assert both.ticket.entries == (2, 0, 5)
    assert (both.shape, len(both), both.dtype, both.device.type) == ((3, 3, 8, 8), 3, torch.float32, "cpu")
    assert "of samples [2, 0, 5]" in f"{both}"
    assert trial.reals == 0


def test_anything_else_gives_the_tensor_that_a_ghost_stands_for() -> None:
    trial = Trial(Parent())
    ghost, real = trial.ghosts([2, 0])[0], trial.computed([2, 0])[0]
    assert torch.equal(ghost * 1, real)
    assert torch.equal(torch.cat([ghost, real]), torch.cat([real, real]))
    assert torch.equal(torch.stack([ghost, ghost], 1), torch.stack([real, real], 1))
    assert torch.equal(ghost.double(), real.double())
    assert ghost.mean().item() == real.mean().item()
    assert trial.reals == 1


@pytest.mark.parametrize("kind", ["a part", "a copy"])
def test_another_network_or_a_part_of_this_one_is_told_what_to_do(kind: str, tmp_path: Path) -> None:
    network = Parent().eval()
    handle = frostline.freeze(network, "all", example_input=images(2))
    loader = DataLoader(Pictures(), batch_size=4)
    replayed = replay(handle, loader, dir=tmp_path)
    other = network.a if kind == "a part" else copy.deepcopy(network)
    for ours, theirs in zip(replayed, loader, strict=True):
        assert torch.equal(other(ours[0]), other(theirs[0]))
    assert "call the whole network that `freeze` was given" in str(replayed.refused)


def test_asking_whether_it_is_pinned_leaves_a_ghost_what_it_is() -> None:
    ghost = Trial(Parent()).ghosts([2, 0])[0]
    assert not ghost.is_pinned()
    ghost.requires_grad = False
    assert ghost.requires_grad_(False).ticket is not None


def test_a_ghost_is_found_in_containers_and_objects() -> None:
    ghost = Trial(Parent()).ghosts([0])[0]

    class Output:
        def __init__(self, value: Any) -> None:
            self.value = value

    assert has_ghost({"a": [1, (ghost,)]})
    assert has_ghost(Output({"a": ghost}))
    assert not has_ghost(Output([torch.ones(1)]))
