"""What every task is to the loop that trains it: batches, what they cost, and how what a network gives is judged."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler

from frostline.backbones import Spec
from frostline.data.buckets import Buckets
from frostline.data.samples import Samples
from frostline.data.sharing import Share, SharedBatches
from frostline.errors import NetworkError
from frostline.record import Evaluation, Predictions
from frostline.selection import call, first_tensor

# What a network is given: a tensor N × …, or several by the names of its arguments.
Inputs = Tensor | Mapping[str, Tensor]
# Inputs, labels N × … (or, of mixed samples, shares N × K), places of the samples N.
Batch = tuple[Inputs, Tensor, Tensor]
Loader = DataLoader[Any] | Buckets
# What is kept of a batch to measure by: tensors with a row for each of its samples, on the CPU.
Rows = tuple[Tensor, ...]
ALONE = Share()


def scores(output: Any) -> Tensor:
    """Give the scores N × … × K of a network's output; where it gives several (auxiliary heads), the first."""
    tensor = first_tensor(output)
    if tensor is None:
        raise NetworkError(
            "the network's output", found=f"{type(output).__name__} without a tensor", do="let it give class scores"
        )
    return tensor


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """What is learned: what a batch is and costs, and how what a network gives is measured.

    Of a batch `Rows` are kept, and no more: a row for each sample, so that the samples of all processes can be put
    together, each once. They are as small as what is measured allows.

    Attributes:
        spec: what the network is given.
        batch_size: samples in a step.
        workers: processes that read samples; 0: this one.
        step_size: samples of a step, where `batch_size` is a part of it for want of memory; None: `batch_size`.
        classes: names of the classes; none where samples have none.
    """

    # What a sample is called, and the key of a recipe that makes it smaller.
    what: ClassVar[str]
    size_key: ClassVar[str]
    metric_names: ClassVar[tuple[str, ...]]

    spec: Spec
    batch_size: int
    workers: int = 0
    step_size: int | None = None
    classes: tuple[str, ...] = ()

    @abstractmethod
    def loader(self, samples: Samples, *, seed: int | None = None, share: Share = ALONE) -> Loader:
        """Make batches of samples.

        Args:
            samples: what to load.
            seed: of the order, which is another in every epoch, and of random changes; None: in the order of the
                samples, without changes that are others in every epoch.
            share: what of every batch is this process's.
        """

    @abstractmethod
    def fills(self, samples: Samples, *, share: Share) -> bool:
        """Whether this process's last batch of an epoch is another's, and does not count."""

    @abstractmethod
    def mixed(self, batch: Batch, *, seed: tuple[int, ...]) -> Batch:
        """Mix the samples of a training batch where the task does that; the same for the same seed."""

    @property
    @abstractmethod
    def regrouped(self) -> str | None:
        """What of a step would be otherwise with fewer samples at once, for a person; None: nothing."""

    @property
    @abstractmethod
    def never_replayed(self) -> str | None:
        """Why what is frozen computes something else in every epoch, for a person; None: it may be replayed."""

    @property
    @abstractmethod
    def changes(self) -> tuple[str, ...]:
        """The random changes to training samples, in words."""

    @property
    @abstractmethod
    def given(self) -> dict[str, Any]:
        """What the network is given, for the record."""

    @abstractmethod
    def beside(self, batch: Batch) -> Tensor | None:
        """Give what the cost of a training batch depends on beside it; before a network does anything to its input."""

    @abstractmethod
    def cost(self, output: Tensor, batch: Batch, beside: Tensor | None) -> Tensor:
        """What a training batch costs, from what the network gave: a mean over what `weight` counts.

        Args:
            output: what the network gave.
            batch: that it was given.
            beside: what `beside` gave for it.
        """

    @abstractmethod
    def weight(self, labels: Tensor) -> float:
        """Say how much a batch counts beside others whose gradients make one step."""

    @abstractmethod
    def seen(self, output: Tensor, batch: Batch) -> Rows:
        """Give what is kept of a training batch for `train_metrics`, from what the network gave."""

    @abstractmethod
    def train_metrics(self, rows: Rows) -> dict[str, float]:
        """Measure what was seen in training, shares of 1."""

    @abstractmethod
    def judged(self, output: Tensor, batch: Batch) -> Rows:
        """Give what is kept of a batch that is judged, from what the network gave."""

    @abstractmethod
    def measured(self, rows: Rows) -> tuple[float, dict[str, float]]:
        """Give the plain loss of all that was judged, so that runs can be compared, and its metrics."""

    @abstractmethod
    def evaluation(self, rows: Rows, places_N: Tensor, *, samples: Samples, split: str) -> Evaluation:
        """Put together all that is to be known of what was judged.

        Args:
            rows: what `judged` gave of all samples.
            places_N: the samples' places, in the order of the rows.
            samples: what was judged.
            split: what they are, for the record (`val`, `test`).
        """

    @abstractmethod
    def predictions(self, rows: Rows, places_N: Tensor, *, samples: Samples, split: str) -> Predictions | None:
        """Give what the network said of each sample, as `evaluation`; None: samples have no classes."""

    def inputs(self, samples: Samples) -> Iterator[Inputs]:
        """Yield what the network is given of samples, batch by batch."""
        for inputs, _, _ in self.loader(samples):
            yield inputs

    def batch_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Run the network on a batch and give the loss, as the proof asks for it."""
        device = next(model.parameters()).device
        inputs, labels, places_N = batch
        placed = (moved(inputs, device), labels.to(device), places_N)
        beside = self.beside(placed)
        return self.cost(scores(call(model, placed[0])), placed, beside)

    def _batches(
        self, dataset: Dataset[Any], order: Sampler[Any] | None, *, count: int, seed: int | None, share: Share
    ) -> DataLoader[Any]:
        """Make batches of a data set of so many samples, in the order of a sampler, or as they lie."""
        # BatchNorm cannot be trained on one sample; another one is left out in every epoch.
        drop_last = seed is not None and share.leaves_out(count, step_size=self.step_size or self.batch_size)
        batches: dict[str, Any] = {"batch_size": self.batch_size, "sampler": order, "drop_last": drop_last}
        if share.count > 1:
            every = order or SequentialSampler(range(count))
            shared = SharedBatches(every, batch_size=self.batch_size, drop_last=drop_last, share=share)
            batches = {"batch_sampler": shared}
        return DataLoader(
            dataset,
            **batches,
            # Not the order's, which is left to draw orders alone; nor torch's own, which networks draw from.
            generator=torch.Generator().manual_seed(seed or 0),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )


def shape_of(tensor: Tensor) -> str:
    """Write a shape for a person.

    >>> shape_of(torch.zeros(1, 3))
    '1 × 3'
    """
    return " × ".join(map(str, tensor.shape))


def moved(inputs: Inputs, device: torch.device) -> Inputs:
    """Put what a network is given on a device."""
    if isinstance(inputs, Tensor):
        return inputs.to(device)
    return {name: tensor.to(device) for name, tensor in inputs.items()}
