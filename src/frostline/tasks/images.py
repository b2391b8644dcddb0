"""The task `images`: one label a picture; data, loss, metrics and predictions."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_recall,
)

from frostline.backbones import InputSpec
from frostline.errors import NetworkError
from frostline.selection import first_tensor
from frostline.tasks.pictures import read_picture, stretch, to_input
from frostline.tasks.samples import Samples

# Images N × C × H × W, labels N, places of the samples N.
Batch = tuple[Tensor, Tensor, Tensor]


class Pictures(Dataset[tuple[Tensor, int, int]]):
    """The samples as a torch data set: the normalised picture, its label, its place."""

    def __init__(self, samples: Samples, spec: InputSpec) -> None:
        self.samples = samples
        self.spec = spec

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        label = int(self.samples.labels[index])
        if self.samples.pixels is not None:
            return to_input(stretch(self.samples.pixels[index], self.spec.size_px), self.spec), label, index
        return read_picture(self.samples.paths[index], self.spec), label, index


def scores(output: Any) -> Tensor:
    """Give the class scores N × K of a network's output; where it gives several (auxiliary heads), the first."""
    tensor = first_tensor(output)
    if tensor is None:
        raise NetworkError(
            "the network's output", found=f"{type(output).__name__} without a tensor", do="let it give class scores"
        )
    return tensor


@dataclass(frozen=True, kw_only=True)
class ImageTask:
    """Image classification: what a batch costs, and how predictions are judged."""

    metric_names: ClassVar[tuple[str, ...]] = ("accuracy", "balanced_accuracy", "macro_f1")

    classes: tuple[str, ...]
    spec: InputSpec
    batch_size: int
    workers: int = 0

    def loader(self, samples: Samples, *, seed: int | None = None) -> DataLoader[tuple[Tensor, int, int]]:
        """Make batches of samples.

        Args:
            samples: what to load.
            seed: of the order, which is another in every epoch; None: in the order of the samples.
        """
        return DataLoader(
            Pictures(samples, self.spec),
            batch_size=self.batch_size,
            shuffle=seed is not None,
            # BatchNorm cannot be trained on one sample; another one is left out in every epoch.
            drop_last=seed is not None and len(samples) > self.batch_size and len(samples) % self.batch_size == 1,
            generator=None if seed is None else torch.Generator().manual_seed(seed),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )

    def images(self, samples: Samples) -> Iterator[Tensor]:
        """Yield the images of samples alone, batch by batch."""
        for images_NCHW, _, _ in self.loader(samples):
            yield images_NCHW

    def loss(self, logits_NK: Tensor, labels_N: Tensor) -> Tensor:
        """Cross-entropy, mean over the batch."""
        return F.cross_entropy(logits_NK.float(), labels_N)

    def batch_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Run the network on a batch and give the loss, as the proof asks for it."""
        device = next(model.parameters()).device
        images_NCHW, labels_N, _ = batch
        return self.loss(scores(model(images_NCHW.to(device))), labels_N.to(device))

    def metrics(self, logits_NK: Tensor, labels_N: Tensor) -> dict[str, float]:
        """Accuracy, balanced accuracy (mean recall of the classes that have samples) and macro F1, shares of 1."""
        count = len(self.classes)
        recalls_K = multiclass_recall(logits_NK, labels_N, count, average=None)
        values = (
            multiclass_accuracy(logits_NK, labels_N, count, average="micro"),
            recalls_K[torch.bincount(labels_N, minlength=count) > 0].mean(),
            multiclass_f1_score(logits_NK, labels_N, count, average="macro"),
        )
        return {name: float(value) for name, value in zip(self.metric_names, values, strict=True)}

    def confusion(self, logits_NK: Tensor, labels_N: Tensor) -> tuple[tuple[int, ...], ...]:
        """Count predictions by class: rows are the truth, columns the predictions."""
        matrix = multiclass_confusion_matrix(logits_NK, labels_N, len(self.classes))
        return tuple(tuple(row) for row in matrix.tolist())
