"""The task `images`: one label a picture; data, loss, metrics and predictions."""

from collections.abc import Iterator
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

from frostline.backbones import InputSpec
from frostline.data.augment import Augment, Mix, seed_of
from frostline.data.pictures import fitted, stretch, to_input
from frostline.data.samples import Samples
from frostline.data.sampling import Draw, Entries, Order, Sampling
from frostline.data.sharing import Share, SharedBatches
from frostline.errors import NetworkError, UserError
from frostline.replaying import Views
from frostline.selection import first_tensor

# One for all runs, so that runs which differ in their seed share what is stored of the views.
VIEWS_SEED = 0
# Images N × C × H × W, labels N (or, of mixed images, shares N × K), places of the samples N.
Batch = tuple[Tensor, Tensor, Tensor]
_ALONE = Share()


class Pictures(Dataset[tuple[Tensor, int, int]]):
    """The samples as a torch data set: the normalised picture, its label, its place.

    Args:
        samples: what there is.
        spec: what the network takes.
        augment: changes pictures that are drawn for training (`Draw`), never those that are asked for by place.
        seed: of the changes.
        drawn: change also those that are asked for by place, with a seed from torch's generator: for `Views`.
    """

    def __init__(
        self,
        samples: Samples,
        spec: InputSpec,
        *,
        augment: Augment | None = None,
        seed: int = 0,
        drawn: bool = False,
    ) -> None:
        self.samples = samples
        self.spec = spec
        self._augment = augment
        self._seed = seed
        self._drawn = drawn

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, at: int | Draw) -> tuple[Tensor, int, int]:
        place = at.place if isinstance(at, Draw) else at
        return self._image(at, place), int(self.samples.labels[place]), place

    def _image(self, at: int | Draw, place: int) -> Tensor:
        if self._augment is not None and isinstance(at, Draw):
            return self._changed(self._augment, place, seed_of(self._seed, at.epoch, at.position))
        if self._augment is not None and self._drawn:
            return self._changed(self._augment, place, int(torch.randint(2**63 - 1, ())))
        if self.samples.pixels is not None:
            return to_input(stretch(self.samples.pixels[place], self.spec.size_px), self.spec)
        return fitted(self.samples.open(place, at_least_px=self.spec.size_px), self.spec)

    def _changed(self, augment: Augment, place: int, seed: int) -> Tensor:
        picture = self.samples.open(place, at_least_px=augment.at_least_px)
        try:
            return augment(picture, seed)
        except Exception as error:  # whatever a transform raises that this picture cannot pass
            why = error.found if isinstance(error, UserError) else f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UserError(
                "augment",
                found=f"{self.samples.name(place)} cannot pass it ({why})",
                do="take out the transform that fails, or mend its arguments",
            ) from None


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
    """Image classification: what a batch costs, and how predictions are judged.

    Attributes:
        classes: names of the classes.
        spec: what the network takes.
        batch_size: images in a step.
        workers: processes that read images; 0: this one.
        sampling: in which order training samples are drawn.
        augment: random changes to training pictures, or None.
        views: draws of each training picture, fixed; None: another in every epoch.
        mix: mixes the pictures of a training batch, or None.
        label_smoothing: share of each training label that is spread over all classes.
        class_weights: K, how much a training sample of each class counts, or None.
        step_size: images of a step, where `batch_size` is a part of it for want of memory; None: `batch_size`.
    """

    metric_names: ClassVar[tuple[str, ...]] = ("accuracy", "balanced_accuracy", "macro_f1")

    classes: tuple[str, ...]
    spec: InputSpec
    batch_size: int
    workers: int = 0
    sampling: Sampling = "shuffled"
    augment: Augment | None = None
    views: int | None = None
    mix: Mix | None = None
    label_smoothing: float = 0.0
    class_weights: Tensor | None = None
    step_size: int | None = None

    def loader(
        self, samples: Samples, *, seed: int | None = None, share: Share = _ALONE
    ) -> DataLoader[tuple[Tensor, int, int]]:
        """Make batches of samples.

        Args:
            samples: what to load.
            seed: of the order, which is another in every epoch, and of the augmentation; None: in the order of the
                samples, without augmentation.
            share: what of every batch is this process's.
        """
        order: Sampler[Any] | None = None
        pictures: Dataset[Any] = Pictures(samples, self.spec)
        if seed is not None:
            order = Order(samples.labels, seed=seed, sampling=self.sampling)
            if self.augment is None:
                order = Entries(order)
            elif self.views is None:
                pictures = Pictures(samples, self.spec, augment=self.augment, seed=seed)
            else:
                order = Entries(order, views=self.views, seed=seed)
                pictures = Pictures(samples, self.spec, augment=self.augment, drawn=True)
                pictures = Views(pictures, views=self.views, seed=VIEWS_SEED)
        # BatchNorm cannot be trained on one sample; another one is left out in every epoch.
        drop_last = seed is not None and share.leaves_out(len(samples), step_size=self.step_size or self.batch_size)
        batches: dict[str, Any] = {"batch_size": self.batch_size, "sampler": order, "drop_last": drop_last}
        if share.count > 1:
            every = order or SequentialSampler(samples)
            shared = SharedBatches(every, batch_size=self.batch_size, drop_last=drop_last, share=share)
            batches = {"batch_sampler": shared}
        return DataLoader(
            pictures,
            **batches,
            # Not the order's, which is left to draw orders alone; nor torch's own, which networks draw from.
            generator=torch.Generator().manual_seed(seed or 0),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )

    def images(self, samples: Samples) -> Iterator[Tensor]:
        """Yield the images of samples alone, batch by batch."""
        for images_NCHW, _, _ in self.loader(samples):
            yield images_NCHW

    def mixed(self, batch: Batch, *, seed: tuple[int, ...]) -> Batch:
        """Mix the pictures of a training batch where the task does that; the same for the same seed."""
        if self.mix is None:
            return batch
        return (*self.mix(batch[0], batch[1], seed=seed_of(*seed)), batch[2])

    def loss(self, logits_NK: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of a training batch, mean over it, with class weights and label smoothing where asked for.

        Args:
            logits_NK: what the network gave.
            labels: N, or N × K shares of mixed pictures.
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
            labels: N, or N × K shares of mixed pictures.
        """
        if self.class_weights is None:
            return float(len(labels))
        weights_K = self.class_weights.to(labels.device)
        return float((labels @ weights_K if labels.ndim == 2 else weights_K[labels]).sum())

    def judged_loss(self, logits_NK: Tensor, labels_N: Tensor) -> Tensor:
        """Plain cross-entropy, mean over samples: of validation and test, so that runs can be compared."""
        return F.cross_entropy(logits_NK.float(), labels_N)

    def labels(self, batch: Batch) -> Tensor:
        """Give the labels N of a batch; of mixed pictures the label of the larger share."""
        return batch[1].argmax(1) if batch[1].ndim == 2 else batch[1]

    def batch_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Run the network on a batch and give the loss, as the proof asks for it."""
        device = next(model.parameters()).device
        images_NCHW, labels_N, _ = batch
        return self.loss(scores(model(images_NCHW.to(device))), labels_N.to(device))

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
