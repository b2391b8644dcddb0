"""One forward pass whose prefix is looked up: held modules give stored tensors, or ghosts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from frostline.replaying.flow import plain_of
from frostline.replaying.frontier import Frontier
from frostline.replaying.ghost import Ghost
from frostline.replaying.keeping import flat
from frostline.replaying.lineage import Lineage, parts
from frostline.replaying.refusal import Refusal
from frostline.replaying.slots import Slot


class Replaying:
    """Stands in for the steps of a network, and gives what operations between them make.

    Args:
        frontier: knows which calls are replaced.
        values: the stored tensors of a batch.
        count: number of samples.
        device: where the network is.
    """

    def __init__(self, frontier: Frontier, values: Mapping[Slot, Tensor], *, count: int, device: torch.device) -> None:
        self._frontier = frontier
        self._values = {**frontier.constants, **values}
        self._count = count
        self._device = device
        self._lineage = Lineage()
        self._outermost: dict[str, int] = {}
        self._inside = 0

    def enter(self, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Let a network that calls itself do so."""
        return original(*args, **kwargs)

    def call(self, name: str, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Give what a call gave when it was computed: stored tensors and ghosts.

        Raises:
            Refusal: it gets other things than in the probe.
        """
        if self._inside:
            return original(*args, **kwargs)
        number = self._outermost[name] = self._outermost.get(name, 0) + 1
        shape = self._frontier.calls.get((name, number))
        if shape is None:
            self._inside += 1
            try:
                return original(*args, **kwargs)
            finally:
                self._inside -= 1
        given = flat(args, kwargs)
        # No ghost needs a gradient, and to ask it takes its time.
        if any(isinstance(one, Tensor) and not isinstance(one, Ghost) and one.requires_grad for one in given):
            raise Refusal(f"the held {name} gets something trained, which it did not in the probe")
        if self._frontier.plain.get((name, number), plain := plain_of(given)) != plain:
            raise Refusal(f"the held {name} gets other settings than in the probe")
        return shape.filled({slot.leaf: self._leaf(slot) for slot in self._frontier.slots[name, number]})

    def _leaf(self, slot: Slot) -> Tensor:
        if slot in self._values:
            return self._values[slot]
        ghost = Ghost(self._frontier.layouts[slot].without_values(self._count), device=self._device)
        self._lineage.name(ghost, slot)
        return ghost

    def found(self, operation: str, label: str, ghosts: Sequence[Ghost], output: Any) -> Any:
        """Give what an operation on ghosts gives: what is stored of it, or ghosts.

        Raises:
            Refusal: it gets other numbers than in the probe, or gives another shape.
        """
        if self._inside:
            return output
        if label not in self._frontier.labels:
            raise Refusal(f"{label} was not done to what is held in the probe")
        made = self._lineage.step(operation, ghosts)
        if made is None:
            return output
        leaves, spec = tree_flatten(output)
        named = {id(tensor): slot for slot, tensor in parts(made, output)}
        for place, leaf in enumerate(leaves):
            slot = named.get(id(leaf))
            if slot is None or self._lineage.of(leaf) is not None:
                continue
            if slot in self._values:
                if leaf.shape != self._values[slot].shape:
                    raise Refusal(f"{slot} has another shape than in the probe")
                leaves[place] = self._values[slot]
            else:
                self._lineage.name(leaf, slot)
        return tree_unflatten(leaves, spec)
