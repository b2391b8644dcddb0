"""Arrival: how samples come to a network, from somebody's data set through their collate function and their loop."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils._pytree import tree_flatten

from frostline.replaying.ghosts.ghost import Ghost
from frostline.replaying.keeping import tensors_of
from frostline.replaying.probe.frontier import leaves_of
from frostline.replaying.probe.setting import Setting
from frostline.replaying.refusal import Refusal
from frostline.replaying.samples.feed import Feed, with_ghosts
from frostline.replaying.samples.gathering import order_of
from frostline.replaying.samples.probed import Probed
from frostline.replaying.slots import PLAIN

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Pass(Protocol):
    """A forward pass that is more than the network's own."""

    def enter(self, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Stand in for the network."""

    def call(self, name: str, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Stand in for a module that is run as one step."""


@dataclass(frozen=True)
class Inputs:
    """How samples come to a network.

    Attributes:
        leaves: place among its arguments → tensor of a sample.
        shapes: of those tensors.
        structure: of the arguments, with what is plain in them.
        setting: in which it is called.
    """

    leaves: Mapping[int, int]
    shapes: Mapping[int, torch.Size]
    structure: Any
    setting: Setting


def find_inputs(
    model: nn.Module, feed: Feed, samples: Sequence[Any], *, during: Callable[[Pass], AbstractContextManager[None]]
) -> Inputs:
    """Say which tensors of a sample reach the network untouched; whatever is read on the way stays real.

    Args:
        model: the network, whose forward passes can be stood in for.
        feed: puts samples together and calls it.
        samples: real ones.
        during: lets a pass stand in for the network's own.

    Raises:
        Refusal: none does.
    """
    probed = Probed(samples)
    every = frozenset(range(len(tensors_of(samples[0]))))
    if any(len(tensors_of(sample)) != len(every) for sample in samples):
        raise Refusal("samples have different numbers of tensors")
    ghosts = [with_ghosts(sample, place, leaves=every, source=probed) for place, sample in enumerate(samples)]
    arguments, setting = _arguments(model, feed, feed.batch(ghosts), during=during)
    arrived = {
        place: leaf.ticket.leaf
        for place, leaf in leaves_of(*arguments).items()
        if isinstance(leaf, Ghost) and leaf.ticket is not None and leaf.ticket.leaf not in probed.touched
    }
    if not arrived:
        why = f": {next(iter(probed.touched.values()))} is done to it before" if probed.touched else ""
        raise Refusal(f"no tensor of a sample reaches the network as the data set gave it{why}")
    if any(len({tensors_of(sample)[leaf].shape for sample in samples}) > 1 for leaf in arrived.values()):
        raise Refusal("samples have different shapes")
    order_of(arguments, len(samples))
    shapes = {leaf: tensors_of(samples[0])[leaf].shape for leaf in arrived.values()}
    return Inputs(arrived, shapes, structure(arguments), setting)


def structure(arguments: Arguments) -> tuple[Any, ...]:
    """Say how the containers of arguments nest, and what is plain in them."""
    leaves, spec = tree_flatten(arguments)
    return spec, tuple(leaf for leaf in leaves if isinstance(leaf, PLAIN))


def _arguments(
    model: nn.Module, feed: Feed, batch: Any, *, during: Callable[[Pass], AbstractContextManager[None]]
) -> tuple[Arguments, Setting]:
    with during(_Arrival(feed.device)):
        try:
            feed.forward(model, batch)
        except _Arrived as arrived:
            return arrived.arguments, arrived.setting
    raise Refusal("the network was not called with the batch")


class _Arrived(BaseException):
    """What the network was called with; not an Exception, so that nobody on the way takes it for one."""

    def __init__(self, arguments: Arguments, setting: Setting) -> None:
        self.arguments, self.setting = arguments, setting


class _Arrival:
    """Ends when the network is called."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def enter(self, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise _Arrived((args, kwargs), Setting.now(self._device))

    def call(self, name: str, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return original(*args, **kwargs)
