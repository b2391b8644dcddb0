"""A tiny network, tiny samples and somebody's own loop, for the tests of the verb."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

import frostline
from frostline.replaying import ReplayLoader, replay


class Net(nn.Module):
    """Two blocks and a head, with a layer that works in place and one that drops out."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(16, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.pool(self.body(self.stem(x))).flatten(1)))


class Pictures(Dataset[Any]):
    """Samples by number; a sample takes long enough for replay to pay."""

    def __init__(self, count: int = 37, *, pack: Callable[[torch.Tensor, int], Any] = lambda x, i: (x, i % 4)) -> None:
        self.count = count
        self.pack = pack

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        time.sleep(0.0004)
        return self.pack(picture(index), index)


def picture(index: int) -> torch.Tensor:
    return torch.randn(3, 12, 12, generator=torch.Generator().manual_seed(index))


def net(seed: int = 0, **options: Any) -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Net(**options)


def frozen(model: nn.Module, words: str | dict[str, Any] = "all") -> Any:
    options = {} if isinstance(words, str) else words
    return frostline.freeze(
        model, words if not options else None, example_input=torch.zeros(1, 3, 12, 12), head="head", **options
    )


def replayed(loader: DataLoader[Any], folder: Path, model: nn.Module | None = None, **options: Any) -> ReplayLoader:
    model = model or net()
    found = replay(frozen(model), loader, dir=folder, **options)
    found.model = model
    return found


def train(
    model: nn.Module, loader: Any, *, epochs: int = 2, unpack: Callable[[Any], Any] = lambda batch: batch
) -> list:
    """Somebody's loop: the loss of every step."""
    learner = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.1)
    losses = []
    for _ in range(epochs):
        model.train()
        for batch in loader:
            x, y = unpack(batch)
            loss = F.cross_entropy(model(x), y)
            learner.zero_grad()
            loss.backward()
            learner.step()
            losses.append(loss.item())
    return losses


def outputs(model: nn.Module, loader: Any) -> list[torch.Tensor]:
    """What the network gives for every batch, in eval mode."""
    model.eval()
    return [model(batch[0]).detach() for batch in loader]
