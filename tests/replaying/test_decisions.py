"""A network that asks something of a whole batch is replayed where the answer changes nothing, and nowhere else."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader, TensorDataset

import frostline
from frostline.replaying.probe.decisions import decisions

COUNT, LENGTH = 24, 6


class Body(nn.Module):
    """Masks what comes out, but where nothing of the whole batch is masked: there it may do something else."""

    def __init__(self, *, factor: float) -> None:
        super().__init__()
        self.linear, self.factor = nn.Linear(8, 8), factor

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        if (mask == 1).all():
            return self.factor * self.linear(x)
        return self.linear(x) * mask[..., None]


class Reader(nn.Module):
    """Embeds, and asks inside of what is held, or in its own code."""

    def __init__(self, *, asks_inside: bool, factor: float = 2.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.body, self.fc = nn.Embedding(9, 8), Body(factor=factor), nn.Linear(8, 3)
        self.asks_inside = asks_inside

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.embed(ids)
        if self.asks_inside:
            x = self.body(x, mask)
        elif bool((mask == 1).all()):
            x = self.body.factor * self.body.linear(x)
        else:
            x = self.body.linear(x * mask[..., None])
        return self.fc(x.mean(1))


def texts(*whole: int) -> TensorDataset:
    """Texts of which these are as long as can be."""
    chance = torch.Generator().manual_seed(0)
    ids = torch.randint(9, (COUNT, LENGTH), generator=chance)
    lengths = torch.randint(1, LENGTH, (COUNT,), generator=chance)
    lengths[list(whole)] = LENGTH
    mask = (torch.arange(LENGTH) < lengths[:, None]).long()
    return TensorDataset(ids, mask, torch.arange(COUNT) % 3)


def forward(network: nn.Module, batch: Any) -> Tensor:
    output: Tensor = network(batch[0], batch[1])
    return output


def attached(network: nn.Module, samples: TensorDataset, folder: Any) -> Any:
    handle = frostline.freeze(network, "all", example_input=samples.tensors[:2])
    loader = DataLoader(samples, batch_size=4)
    return frostline.replay(handle, loader, dir=folder, forward=forward, insist=True)


# Whole batches of four that are full; or no batch of them, and some that the loop may draw.
@pytest.mark.parametrize("whole", [range(8, 12), range(0, COUNT, 2)])
@pytest.mark.parametrize("asks_inside", [True, False])
def test_an_answer_that_changes_what_comes_out_is_refused(tmp_path: Any, whole: range, *, asks_inside: bool) -> None:
    network = Reader(asks_inside=asks_inside)
    loader = attached(network, texts(*whole), tmp_path)
    assert "off" in loader.lines[-1]
    if asks_inside:
        assert "its code asks something of whole batches" in loader.lines[-1]
    expected = Reader(asks_inside=asks_inside)
    for batch in loader:
        assert torch.equal(forward(network, batch), forward(expected, batch))


@pytest.mark.parametrize("asks_inside", [True, False])
@pytest.mark.parametrize("whole", [(), tuple(range(COUNT))])
def test_the_same_answer_everywhere_is_replayed(tmp_path: Any, whole: tuple[int, ...], *, asks_inside: bool) -> None:
    network, expected = Reader(asks_inside=asks_inside), Reader(asks_inside=asks_inside)
    loader = attached(network, texts(*whole), tmp_path)
    assert "off" not in loader.lines[-1], loader.lines
    for ours, theirs in zip(loader, DataLoader(texts(*whole), batch_size=4), strict=True):
        torch.testing.assert_close(forward(network, ours), forward(expected, theirs))


@pytest.mark.parametrize("whole", [(0, 1), tuple(range(8, 12)), tuple(range(0, COUNT, 2))])
def test_an_answer_that_changes_nothing_is_replayed(tmp_path: Any, whole: tuple[int, ...]) -> None:
    """As where transformers leaves a mask out, because no text of a batch is padded."""
    network, expected = Reader(asks_inside=True, factor=1.0), Reader(asks_inside=True, factor=1.0)
    loader = attached(network, texts(*whole), tmp_path)
    assert "off" not in loader.lines[-1], loader.lines
    for _ in range(2):
        for ours, theirs in zip(loader, DataLoader(texts(*whole), batch_size=4), strict=True):
            torch.testing.assert_close(forward(network, ours), forward(expected, theirs))
    assert loader.refused is None


def test_under_a_function_mode_an_answer_is_noted_once() -> None:
    class Mode(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func(*args, **(kwargs or {}))

    with decisions() as found, Mode():
        assert (torch.ones(1) == 1).all()
    assert found == [True]


def test_readers_are_put_back_after_an_error() -> None:
    with pytest.raises(InterruptedError), decisions():
        raise InterruptedError
    assert {"__bool__", "item"}.isdisjoint(vars(torch.Tensor))


def test_answers_are_noted_and_readers_are_put_back() -> None:
    before = [torch.Tensor.__bool__, torch.Tensor.item, torch.equal]
    with decisions() as found:
        one = torch.ones(1)
        assert one
        assert one.item() == 1
        assert (one == 1).item() is True
        assert not torch.equal(one, one + 1)
        assert 3 not in one
    assert found == [True, True, False, False]
    assert [torch.Tensor.__bool__, torch.Tensor.item, torch.equal] == before
    assert "__bool__" not in vars(torch.Tensor)
