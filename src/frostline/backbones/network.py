"""A pretrained network with what it wants to see: the input it publishes, and the layer that classifies."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from frostline.backbones.text_input import TextSpec

Channels = Literal["rgb", "bgr", "grey"]
# What is learned: a class for each picture, or for each text, or the masked words of texts.
Kind = Literal["images", "text", "masked_text"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What a network takes: square images of `size_px`, values in 0 … 1 minus `mean`, divided by `std`."""

    size_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: Channels = "rgb"

    @property
    def num_channels(self) -> int:
        """Number of channels: 1 for grey, else 3."""
        return 1 if self.channels == "grey" else 3

    def example(self) -> Tensor:
        """Give an input of the right shape: 1 × C × H × W of zeros."""
        return torch.zeros(1, self.num_channels, self.size_px, self.size_px)

    def noise(self, count: int, *, generator: torch.Generator) -> Tensor:
        """Draw inputs of the right shape: N × C × H × W."""
        return torch.randn((count, *self.example().shape[1:]), generator=generator)


Spec = InputSpec | TextSpec


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network and what it publishes.

    Attributes:
        name: as asked.
        model: in eval mode, with its own classifier.
        input: what it takes.
        as_taken: whether mean and deviation are in the order in which the network takes the channels, whatever that is:
            a user's file says them so; what is published of a colour stays with it.
        notes: what a person should be told about it.
        head: of its weights, by name: they may be for another number of classes, or have none; None: the network's own.
        classes: of that head, where its source says so.
        head_parts: modules that are the head, where that is more than the layer that classifies: they are new, too.
    """

    name: str
    model: nn.Module
    input: Spec
    as_taken: bool = False
    notes: tuple[str, ...] = ()
    head: Mapping[str, Tensor] | None = None
    classes: tuple[str, ...] | None = None
    head_parts: tuple[str, ...] = ()


IMAGENET_INPUT = InputSpec(size_px=224, mean=IMAGENET_MEAN, std=IMAGENET_STD)
