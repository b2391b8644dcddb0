"""Rerun: the held part computes the probed samples once more, and they are compared with what it gave at first."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from frostline.replaying.probe.capture import capture
from frostline.replaying.probe.flow import Seen
from frostline.replaying.probe.frontier import Frontier
from frostline.replaying.probe.setting import Setting
from frostline.replaying.samples.feed import Feed
from frostline.replaying.slots import Slot, alike
from frostline.selection import undisturbed


class Rerun:
    """Samples, and what the held part gave for them.

    Args:
        model: the network.
        feed: runs it.
        samples: some that were probed.
        frontier: where its held part ends.
        setting: what it computes in.
        seen: what it gave for these samples in eval mode.

    Attributes:
        sample_seconds: that the held part took for a sample when it was computed last.
    """

    def __init__(
        self, model: nn.Module, feed: Feed, samples: Sequence[Any], frontier: Frontier, setting: Setting, seen: Seen
    ) -> None:
        self._model, self._feed, self._samples = model, feed, samples
        self._frontier, self._setting = frontier, setting
        self._values = {slot: seen.value(slot) for slot in frontier.stored}
        self.sample_seconds = 0.0

    def odd(self, *, gradients: bool = True) -> Slot | None:
        """Compute the samples, and name what the held part gives otherwise than at first, if anything.

        Args:
            gradients: compute as in a training step.
        """
        of = self._setting.autocast
        with undisturbed(self._model), torch.autocast(self._setting.device, dtype=of, enabled=of is not None):
            batch = self._feed.batch(self._samples)
            begun = time.perf_counter()
            found = capture(self._model, self._feed, batch, {"": self._frontier}, gradients=gradients)[""]
        odd = [
            slot
            for slot, value in self._values.items()
            if found[slot].shape != value.shape or not alike(found[slot], value)
        ]
        # On a device: all is computed when values were compared.
        self.sample_seconds = (time.perf_counter() - begun) / len(self._samples)
        return odd[0] if odd else None
