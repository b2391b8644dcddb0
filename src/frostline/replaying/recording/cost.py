"""What replay costs and saves: measured before anything is recorded, and counted while it runs."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from frostline.replaying.probe.capture import capture
from frostline.replaying.probe.frontier import Frontier
from frostline.replaying.samples.feed import Feed
from frostline.replaying.store import show_size

# Gathering rows from mapped memory, slowly; the decision is clear wherever the network has more than a layer in front.
READ_BYTES_PER_SECOND = 5e8
WRITE_BYTES_PER_SECOND = 2e8
STEP_SECONDS_A_SAMPLE = 3e-5
# A batch that would take longer is measured by the few samples of the probe; a device that is quick is quicker yet
# with many samples.
LONG_SECONDS = 0.2
MEASURED = 32


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What replay of one frontier would cost.

    Attributes:
        samples: how many there are, each view for itself.
        kept: how many of them the budget has room for.
        epoch_samples: how many an epoch has.
        missing: how many are to be recorded.
        sample_bytes: bytes of one in the store.
        ahead_bytes: bytes of one that are recorded in the same pass for later.
        compute_seconds: that the prefix takes for a sample, reading it included, beside the loader's processes.
        beyond_seconds: that it takes for a sample that is not kept.
        read_seconds: that looking it up takes, reading the sample included where that is done again.
        epochs: that are to come, if anybody said.
    """

    samples: int
    kept: int
    epoch_samples: int
    missing: int
    sample_bytes: int
    compute_seconds: float
    beyond_seconds: float
    read_seconds: float
    epochs: int | None = None
    ahead_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """Bytes of all samples that are kept."""
        return self.kept * (self.sample_bytes + self.ahead_bytes)

    @property
    def recording_seconds(self) -> float:
        """Seconds that recording takes."""
        return self.missing * (self.compute_seconds + self.ahead_bytes / WRITE_BYTES_PER_SECOND)

    @property
    def saved_seconds(self) -> float:
        """Seconds that every epoch saves."""
        there = self.epoch_samples * self.kept / self.samples
        saved = there * (self.compute_seconds - self.read_seconds)
        return saved - (self.epoch_samples - there) * (self.beyond_seconds - self.compute_seconds)

    @property
    def break_even(self) -> int | None:
        """The epoch with which recording is paid for, or None."""
        if self.saved_seconds <= 0:
            return None
        return max(1, -int(-self.recording_seconds // self.saved_seconds))

    @property
    def pays(self) -> bool:
        """Whether it is worth it for the epochs that are to come."""
        return self.break_even is not None and (self.epochs is None or self.break_even <= self.epochs)

    def __str__(self) -> str:
        ahead = f", and {show_size(self.ahead_bytes)} for later phases" if self.ahead_bytes else ""
        kept = f"{show_size(self.total_bytes)} ({show_size(self.sample_bytes)} a sample{ahead})"
        if self.break_even is None:
            return f"{kept}; looking it up would take longer than computing it"
        record = f"about {self.recording_seconds:.2g} s to record" if self.missing else "recorded already"
        return f"{kept}, {record}, saves about {self.saved_seconds:.2g} s an epoch, pays from epoch {self.break_even}"


@dataclass(kw_only=True)
class Tally:
    """What happened while it ran.

    Attributes:
        looked_up: samples whose prefix was looked up.
        computed: samples whose prefix was computed, because it is not kept or replay is off.
        read_seconds: that looking up took.
    """

    looked_up: int = 0
    computed: int = 0
    read_seconds: float = 0.0

    def __str__(self) -> str:
        return f"looked up {self.looked_up:,} samples in {self.read_seconds:.2g} s, computed {self.computed:,}"


def estimate(
    feed: Feed,
    frontier: Frontier,
    *,
    model: nn.Module,
    samples: Sequence[Any],
    sample_seconds: float,
    network_seconds: float,
    workers: int,
    batch_samples: int,
    kept: int,
    epoch_samples: int,
    missing: int,
    sample_bytes: int,
    epochs: int | None,
    ahead_bytes: int = 0,
    alone: bool = False,
    read_again: bool = False,
) -> Cost:
    """Measure what a few samples cost.

    Args:
        feed: gives samples and runs the network.
        frontier: what would be stored.
        model: the network.
        samples: real ones, to measure more at a time with where that is quick.
        sample_seconds: that reading one of them took.
        network_seconds: that the network took for one of a few.
        workers: processes that read samples; 0: this one does.
        batch_samples: samples of a batch.
        kept: how many samples the budget has room for.
        epoch_samples: how many an epoch has.
        missing: how many are to be recorded.
        sample_bytes: bytes of one in the store.
        ahead_bytes: bytes of one that are recorded in the same pass for later.
        epochs: that are to come, if anybody said.
        alone: one process reads what is not kept, and does all else.
        read_again: samples are read in every epoch all the same.
    """
    count = min(MEASURED, max(batch_samples, len(samples)))
    if count * network_seconds < LONG_SECONDS:
        many = [samples[place % len(samples)] for place in range(count)]
        # What came in between when it was quicker the other time is none of it.
        network_seconds = min(network_seconds, _seconds(feed, frontier, model=model, samples=many))
    alone_seconds = sample_seconds + network_seconds
    compute_seconds = alone_seconds
    if workers:
        # Reading goes on beside the network, as far as there are cores for both.
        threads = torch.get_num_threads() if feed.device.type == "cpu" else 1
        cores = own_cores()
        shared_seconds = (sample_seconds + network_seconds * threads) / max(cores, threads)
        compute_seconds = max(sample_seconds / workers, network_seconds, shared_seconds)
    return Cost(
        samples=len(feed.dataset),
        kept=kept,
        epoch_samples=epoch_samples,
        missing=missing,
        sample_bytes=sample_bytes,
        compute_seconds=compute_seconds,
        beyond_seconds=alone_seconds if alone else compute_seconds,
        read_seconds=sample_bytes / READ_BYTES_PER_SECOND
        + STEP_SECONDS_A_SAMPLE
        + (sample_seconds if read_again else 0.0),
        epochs=epochs,
        ahead_bytes=ahead_bytes,
    )


def own_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _seconds(feed: Feed, frontier: Frontier, *, model: nn.Module, samples: Sequence[Any]) -> float:
    """Measure what the prefix takes for one sample of a batch."""
    begun = time.perf_counter()
    found = capture(model, feed, feed.batch(samples), {"": frontier})
    # On a device: all is computed when the values are here.
    for tensor in found[""].values():
        tensor.flatten()[:1].cpu()
    return (time.perf_counter() - begun) / len(samples)
