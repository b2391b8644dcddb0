"""The moving average of what is trained; what is held is not in it, so rounding cannot touch it."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from frostline.freezing import whole
from frostline.training.sharding import put

AVERAGE = "average"


class WeightAverage:
    """An exponential moving average of some tensors of a network, taken after every step.

    At first the average follows faster, as in TensorFlow: by (1 + t) / (10 + t) where that is less than `decay`.

    Args:
        model: the network.
        moving: names of parameters and buffers that the phase may change. Whole numbers, such as counts of batches, are
            copied.
        decay: what an average keeps of itself in a step, such as 0.999.
    """

    def __init__(self, model: nn.Module, *, moving: Collection[str], decay: float) -> None:
        self._decay = decay
        self._steps = 0
        every = model.state_dict(keep_vars=True)
        # Tied tensors are one.
        self._tensors = {id(every[name]): (name, every[name]) for name in sorted(moving)}
        self._averages = {name: tensor.detach().clone() for name, tensor in self._tensors.values()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights of this moment in."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for name, tensor in self._tensors.values():
            average = self._averages[name]
            if average.is_floating_point() or average.is_complex():
                average.lerp_(tensor.detach(), 1 - decay)
            else:
                average.copy_(tensor)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Let the network have the averages, for as long as it is judged and kept; then its own weights again."""
        own = {name: tensor.detach().clone() for name, tensor in self._tensors.values()}
        self._put(self._averages)
        try:
            yield
        finally:
            self._put(own)

    def settle(self) -> None:
        """Leave the averages in the network."""
        self._put(self._averages)

    def tensors(self) -> dict[str, Tensor]:
        """Give the averages by name, for a checkpoint."""
        return {f"{AVERAGE}/{name}": whole(tensor).clone() for name, tensor in self._averages.items()}

    @property
    def steps(self) -> int:
        """How many steps it has taken in."""
        return self._steps

    def load(self, tensors: Mapping[str, Tensor], *, steps: int) -> None:
        """Go on from the averages of a checkpoint; what is not there, or has another shape, begins with the weights."""
        self._steps = steps
        found = {name: tensors[key] for name in self._averages if (key := f"{AVERAGE}/{name}") in tensors}
        fitting = {name: one for name, one in found.items() if one.shape == self._averages[name].shape}
        put(self._averages, fitting)

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, tensor in self._tensors.values():
            tensor.copy_(values[name])
