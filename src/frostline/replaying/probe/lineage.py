"""Lineage: which operations made a tensor of what a held module gave, so that it can be found again."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten

from frostline.replaying.slots import Slot


class Lineage:
    """The tensors of one forward pass that have a name of their own.

    Tensors that modules give are named by the module and the call. What one operation makes of a single one of them is
    named after it: pooling or a class token behind a module has fewer numbers than what the module gave.
    """

    def __init__(self) -> None:
        self._slots: dict[int, Slot] = {}
        self._alive: list[Tensor] = []  # an identity is its own as long as the tensor lives
        self._counts: dict[tuple[Slot, str], int] = {}

    def name(self, tensor: Tensor, slot: Slot) -> None:
        """Give a tensor its name."""
        self._alive.append(tensor)
        self._slots[id(tensor)] = slot

    def forget(self, lost: Callable[[Tensor], bool]) -> None:
        """Take the names of tensors that were written into."""
        for tensor in self._alive:
            if lost(tensor):
                self._slots.pop(id(tensor), None)

    def of(self, tensor: Tensor) -> Slot | None:
        """Give the name of a tensor."""
        return self._slots.get(id(tensor))

    def step(self, operation: str, given: Iterable[Tensor]) -> Slot | None:
        """Count an operation; give the name of what it makes, where it is made of one named tensor alone."""
        parents = {slot for tensor in given if (slot := self.of(tensor)) is not None}
        made = None
        for parent in parents:
            number = self._counts[parent, operation] = self._counts.get((parent, operation), 0) + 1
            made = replace(parent, then=(*parent.then, f"{operation}#{number}"))
        return made if len(parents) == 1 else None


def parts(slot: Slot, output: Any) -> list[tuple[Slot, Tensor]]:
    """Name the tensors that an operation gave: one, or several by place."""
    if isinstance(output, Tensor):
        return [(slot, output)]
    leaves = enumerate(tree_flatten(output)[0])
    *before, last = slot.then
    return [
        (replace(slot, then=(*before, f"{last}.{place}")), leaf) for place, leaf in leaves if isinstance(leaf, Tensor)
    ]
