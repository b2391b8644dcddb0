"""What every classification shares: batches, what they cost, and how predictions are judged."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_recall,
)

from frostline.backbones import Spec
from frostline.data.buckets import Buckets
from frostline.data.samples import Samples
from frostline.data.sampling import Sampling
from frostline.data.sharing import Share, SharedBatches
from frostline.errors import NetworkError
from frostline.selection import call, first_tensor

# What a network is given: a tensor N × …, or several by the names of its arguments.
Inputs = Tensor | Mapping[str, Tensor]
# Inputs, labels N (or, of mixed samples, shares N × K), places of the samples N.
Batch = tuple[Inputs, Tensor, Tensor]
Loader = DataLoader[Any] | Buckets
ALONE = Share()


def scores(output: Any) -> Tensor:
    """Give the class scores N × K of a network's output; where it gives several (auxiliary heads), the first."""
    tensor = first_tensor(output)
    if tensor is None:
        raise NetworkError(
            "the network's output", found=f"{type(output).__name__} without a tensor", do="let it give class scores"
        )
    return tensor


@dataclass(frozen=True, kw_only=True)
class Classification(ABC):
    """One label a sample: what a batch costs, and how predictions are judged.

    Attributes:
        classes: names of the classes.
        spec: what the network is given.
        batch_size: samples in a step.
        workers: processes that read samples; 0: this one.
        sampling: in which order training samples are drawn.
        label_smoothing: share of each training label that is spread over all classes.
        class_weights: K, how much a training sample of each class counts, or None.
        step_size: samples of a step, where `batch_size` is a part of it for want of memory; None: `batch_size`.
    """

    # What a sample is called, and the key of a recipe that makes it smaller.
    what: ClassVar[str]
    size_key: ClassVar[str]
    metric_names: ClassVar[tuple[str, ...]] = ("accuracy", "balanced_accuracy", "macro_f1")

    classes: tuple[str, ...]
    spec: Spec
    batch_size: int
    workers: int = 0
    sampling: Sampling = "shuffled"
    label_smoothing: float = 0.0
    class_weights: Tensor | None = None
    step_size: int | None = None

    @abstractmethod
    def loader(self, samples: Samples, *, seed: int | None = None, share: Share = ALONE) -> Loader:
        """Make batches of samples.

        Args:
            samples: what to load.
            seed: of the order, which is another in every epoch, and of random changes; None: in the order of the
                samples, without changes.
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

    def inputs(self, samples: Samples) -> Iterator[Inputs]:
        """Yield what the network is given of samples, batch by batch."""
        for inputs, _, _ in self.loader(samples):
            yield inputs

    def loss(self, logits_NK: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of a training batch, mean over it, with class weights and label smoothing where asked for.

        Args:
            logits_NK: what the network gave.
            labels: N, or N × K shares of mixed samples.
        """
        weights_K = None if self.class_weights is None else self.class_weights.to(logits_NK.device)
        shares_weight = (labels @ weights_K).sum() if weights_K is not None and labels.ndim == 2 else None
        loss = F.cross_entropy(
            logits_NK.float(),
            labels,
            weight=weights_K,
            label_smoothing=self.label_smoothing,
            reduction="mean" if shares_weight is None else "sum",
        )
        # torch divides by the weights of labels, but by N for shares, so that weights would scale every step.
        return loss if shares_weight is None else loss / shares_weight

    def weight(self, labels: Tensor) -> float:
        """Say how much a batch counts beside others whose gradients make one step: its samples, by class weights.

        Args:
            labels: N, or N × K shares of mixed samples.
        """
        if self.class_weights is None:
            return float(len(labels))
        weights_K = self.class_weights.to(labels.device)
        return float((labels @ weights_K if labels.ndim == 2 else weights_K[labels]).sum())

    def judged_loss(self, logits_NK: Tensor, labels_N: Tensor) -> Tensor:
        """Plain cross-entropy, mean over samples: of validation and test, so that runs can be compared."""
        return F.cross_entropy(logits_NK.float(), labels_N)

    def labels(self, batch: Batch) -> Tensor:
        """Give the labels N of a batch; of mixed samples the label of the larger share."""
        return batch[1].argmax(1) if batch[1].ndim == 2 else batch[1]

    def batch_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Run the network on a batch and give the loss, as the proof asks for it."""
        device = next(model.parameters()).device
        inputs, labels_N, _ = batch
        return self.loss(scores(call(model, moved(inputs, device))), labels_N.to(device))

    def metrics(self, predicted: Tensor, labels_N: Tensor) -> dict[str, float]:
        """Accuracy, balanced accuracy (mean recall of the classes that have samples) and macro F1, shares of 1.

        Args:
            predicted: N classes, or N × K scores.
            labels_N: the truth.
        """
        count = len(self.classes)
        recalls_K = multiclass_recall(predicted, labels_N, count, average=None)
        values = (
            multiclass_accuracy(predicted, labels_N, count, average="micro"),
            recalls_K[torch.bincount(labels_N, minlength=count) > 0].mean(),
            multiclass_f1_score(predicted, labels_N, count, average="macro"),
        )
        return {name: float(value) for name, value in zip(self.metric_names, values, strict=True)}

    def confusion(self, logits_NK: Tensor, labels_N: Tensor) -> tuple[tuple[int, ...], ...]:
        """Count predictions by class: rows are the truth, columns the predictions."""
        matrix = multiclass_confusion_matrix(logits_NK, labels_N, len(self.classes))
        return tuple(tuple(row) for row in matrix.tolist())

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
