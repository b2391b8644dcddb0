"""Small networks with held modules and, between them, whatever a parent module may do."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def block(inputs: int = 8, outputs: int = 8) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


class Parent(nn.Module):
    """Three blocks, then a head; each argument is something that is done on the way, with the network and a tensor.

    Args:
        first: done to the images.
        between: done between the first and the second block.
        behind: done behind the last block.
        head: done to what the head is given.
        last: done to what the head gives.
    """

    def __init__(self, **steps: Callable[["Parent", Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = block(3), block(), block()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(8, 2)
        self.register_buffer("mean", torch.full((1, 8, 1, 1), 0.1))
        self.features: Any = None
        self.scale = 2.0
        self.source: Any = None
        self._steps = steps

    def _do(self, name: str, tensor: Tensor) -> Any:
        return self._steps[name](self, tensor) if name in self._steps else tensor

    def forward(self, images: Tensor) -> Any:
        hidden = self._do("between", self.a(self._do("first", images)))
        hidden = self._do("behind", self.c(self.b(hidden)))
        return self._do("last", self.fc(self._do("head", self.pool(hidden).flatten(1))))


class Wired(nn.Module):
    """Named modules and a function that wires them."""

    def __init__(self, wire: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self._wire = wire
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._wire(self, *args, **kwargs)
