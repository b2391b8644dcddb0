"""The feed: samples of somebody's data set, put together and given to the network as in their own loop."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from frostline.replaying.ghosts.ghost import Ghost, Source, Ticket
from frostline.replaying.samples.left_open import closed_again

Forward = Callable[[nn.Module, Any], Any]


def default_forward(network: nn.Module, batch: Any) -> Any:
    """Give the network a batch, or the first of several things: a tensor, or a mapping as keyword arguments."""
    given = batch[0] if isinstance(batch, (tuple, list)) else batch
    return network(**given) if isinstance(given, Mapping) else network(given)


@dataclass(frozen=True, kw_only=True)
class Feed:
    """How samples become batches, and batches the network's arguments.

    Attributes:
        dataset: gives a sample for a number.
        collate: puts samples together.
        forward: calls the network with a batch.
        device: where the network is.
        elsewhere: whether other processes read, once a loop runs.
    """

    dataset: Any
    collate: Callable[[list[Any]], Any]
    forward: Forward = default_forward
    device: torch.device
    elsewhere: bool = False

    def reading(self) -> AbstractContextManager[list[str]]:
        """Begin to read the data set in this process; gives a list for the names of files that stay open."""
        return closed_again(self.dataset) if self.elsewhere else nullcontext([])

    def samples(self, entries: Sequence[int]) -> list[Any]:
        """Get samples."""
        with self.reading(), as_before(self.device):
            return [self.dataset[entry] for entry in entries]

    def batch(self, samples: Sequence[Any]) -> Any:
        """Put samples together, on the network's device."""
        return self.moved(self.collate(list(samples)))

    def moved(self, batch: Any) -> Any:
        """Move what the loader gave to the network's device."""
        return tree_map(self._move, batch)

    def _move(self, leaf: Any) -> Any:
        # What tokenizers give is no plain container, and moves by itself.
        return leaf.to(self.device) if isinstance(leaf, Tensor) or callable(getattr(leaf, "to", None)) else leaf


@contextmanager
def as_before(device: torch.device) -> Iterator[None]:
    """Read as a loader does before a loop begins to compute: without its autocast, nor for inference alone."""
    with torch.inference_mode(False), torch.autocast("cpu", enabled=False):
        if device.type == "cpu":
            yield
            return
        with torch.autocast(device.type, enabled=False):
            yield


def with_ghosts(sample: Any, entry: int, *, leaves: frozenset[int], source: Source) -> Any:
    """Give a sample some of whose tensors are ghosts.

    Args:
        sample: a real one.
        entry: its number.
        leaves: which of its tensors.
        source: knows what a ghost stands for.
    """
    flat, spec = tree_flatten(sample)
    place, given = -1, []
    for leaf in flat:
        if isinstance(leaf, Tensor):
            place += 1
            if place in leaves:
                leaf = Ghost(leaf, device=leaf.device, ticket=Ticket(place, (entry,), source, False))
        given.append(leaf)
    return tree_unflatten(given, spec)
