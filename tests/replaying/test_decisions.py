"""A network that asks something of a whole batch is replayed while the answer stays, and no longer."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import frostline
from frostline.replaying.probe.decisions import decisions

COUNT, LENGTH = 24, 6


class Body(nn.Module):
    """Scales by the mask, but where nothing of the whole batch is masked."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        if (mask == 1).all():
            return 2 * self.linear(x)
        return self.linear(x) * mask[..., None]


class Reader(nn.Module):
    """Embeds, and asks inside of what is held, or in its own code."""

    def __init__(self, *, asks_inside: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.body, self.fc = nn.Embedding(9, 8), Body(), nn.Linear(8, 3)
        self.asks_inside = asks_inside

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.embed(ids)
        if self.asks_inside:
            x = self.body(x, mask)
        elif bool((mask == 1).all()):
            x = 2 * self.body.linear(x)
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


@pytest.mark.parametrize("asks_inside", [True, False])
def test_another_answer_while_recording_is_refused(tmp_path: Any, *, asks_inside: bool) -> None:
    network = Reader(asks_inside=asks_inside)
    loader = attached(network, texts(*range(8, 12)), tmp_path)
    assert "off" in loader.lines[-1]
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
