"""The samples of a probe: they stand behind its ghosts, and what comes out is compared with what was computed."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from frostline.replaying.ghosts.ghost import READ_AGAIN, THE_NETWORK, Ticket
from frostline.replaying.keeping import all_leaves, tensors_of
from frostline.replaying.refusal import Refusal
from frostline.replaying.slots import Slot, same_numbers


class Probed:
    """The samples of a probe, and what was seen of them.

    Attributes:
        touched: tensors of a sample that something worked on, and what.
    """

    def __init__(self, samples: Sequence[Any], values: Mapping[Slot, Tensor] | None = None) -> None:
        self._samples = samples
        self._values = values or {}
        self.touched: dict[int, str] = {}

    def real(self, ticket: Ticket, why: str) -> Tensor:
        """Give what a ghost stands for, and take note of what for, unless it is the network."""
        if why not in (THE_NETWORK, READ_AGAIN):
            self.touched.setdefault(ticket.leaf, why)
        found = [tensors_of(self._samples[entry])[ticket.leaf] for entry in ticket.entries]
        return torch.stack(found) if ticket.batched else found[0]

    def kept(self, ticket: Ticket) -> Tensor:
        """Give a tensor of the samples."""
        return self.real(ticket, THE_NETWORK)

    def fetch(self, entries: Sequence[int]) -> Mapping[Slot, Tensor]:
        """Give what was seen of the samples, which come in the order in which they were put together.

        Raises:
            Refusal: some are there twice, or are left out.
        """
        check_each_once(entries, len(self._samples))
        return {slot: tensor.clone() for slot, tensor in self._values.items()}


def check_each_once(entries: Sequence[int], count: int) -> None:
    """See that what is put together holds every sample once.

    Args:
        entries: the places of the samples, as they came.
        count: of the samples.

    Raises:
        Refusal: it does not.
    """
    if sorted(entries) != list(range(count)):
        raise Refusal("the collate function repeats samples, or leaves some out")


def compare_outputs(ours: Any, theirs: Any) -> None:
    """Compare two outputs of a network to the bit, also inside of objects that are no plain containers.

    Raises:
        Refusal: they differ.
    """
    mine, other = (all_leaves(output) for output in (ours, theirs))
    if len(mine) != len(other):
        raise Refusal("replayed, the network gives another structure")
    for one, two in zip(mine, other, strict=True):
        if isinstance(one, Tensor) != isinstance(two, Tensor):
            raise Refusal("replayed, the network gives another structure")
        if isinstance(one, Tensor) and not same_numbers(one.detach(), two.detach()):
            raise Refusal("replayed, the network gives another output")
