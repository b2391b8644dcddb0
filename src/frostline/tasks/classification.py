"""What every classification shares: one label a sample, what a batch costs, and how predictions are judged."""

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_recall,
)

from frostline.data.samples import Samples
from frostline.data.sampling import Sampling
from frostline.record import Evaluation, Predictions
from frostline.tasks.mistakes import worst_mistakes
from frostline.tasks.task import Batch, Rows, Task
from frostline.tasks.teacher import Teacher


@dataclass(frozen=True, kw_only=True)
class Classification(Task, ABC):
    """One label a sample: what a batch costs, and how predictions are judged.

    Attributes:
        sampling: in which order training samples are drawn.
        label_smoothing: share of each training label that is spread over all classes.
        class_weights: K, how much a training sample of each class counts, or None.
        teacher: what else is learned from, or None.
    """

    metric_names: ClassVar[tuple[str, ...]] = ("accuracy", "balanced_accuracy", "macro_f1")

    sampling: Sampling = "shuffled"
    label_smoothing: float = 0.0
    class_weights: Tensor | None = None
    teacher: Teacher | None = None

    def beside(self, batch: Batch) -> Tensor | None:
        """Give the scores N × K of the teacher, if there is one."""
        return None if self.teacher is None else self.teacher.scores(batch, rows=self.batch_size)

    def cost(self, output: Tensor, batch: Batch, beside: Tensor | None) -> Tensor:
        """The loss of the labels; with a teacher a share of it, and of how far the network is from what that says."""
        labels, teacher = batch[1], self.teacher
        hard = self.loss(output, labels)
        if teacher is None or beside is None:
            return hard
        soft_N = teacher.soft_loss(output, beside.to(output.device))
        weights_N = self._weights(labels)
        soft = soft_N.mean() if weights_N is None else (soft_N * weights_N).sum() / weights_N.sum()
        return teacher.alpha * hard + (1 - teacher.alpha) * soft

    def loss(self, output: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of a training batch, mean over it, with class weights and label smoothing where asked for.

        Args:
            output: N × K, what the network gave.
            labels: N, or N × K shares of mixed samples.
        """
        weights_K = None if self.class_weights is None else self.class_weights.to(output.device)
        shares_weight = (labels @ weights_K).sum() if weights_K is not None and labels.ndim == 2 else None
        loss = F.cross_entropy(
            output.float(),
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
        weights_N = self._weights(labels)
        return float(len(labels)) if weights_N is None else float(weights_N.sum())

    def _weights(self, labels: Tensor) -> Tensor | None:
        """Give how much each sample counts by its class, N; None: all the same."""
        if self.class_weights is None:
            return None
        weights_K = self.class_weights.to(labels.device)
        return labels @ weights_K if labels.ndim == 2 else weights_K[labels]

    def seen(self, output: Tensor, batch: Batch) -> Rows:
        """Keep the classes that were predicted and the labels: scores of a whole epoch could fill a memory."""
        return output.detach().argmax(1).cpu(), self.labels(batch).cpu()

    def train_metrics(self, rows: Rows) -> dict[str, float]:
        """Measure predictions as `metrics` does."""
        predicted_N, labels_N = rows
        return self.metrics(predicted_N, labels_N)

    def judged(self, output: Tensor, batch: Batch) -> Rows:
        """Keep scores N × K in float32 and labels N."""
        return output.float().cpu(), batch[1].cpu()

    def measured(self, rows: Rows) -> tuple[float, dict[str, float]]:
        """Give plain cross-entropy and the metrics."""
        logits_NK, labels_N = rows
        return float(self.judged_loss(logits_NK, labels_N)), self.metrics(logits_NK, labels_N)

    def evaluation(self, rows: Rows, places_N: Tensor, *, samples: Samples, split: str) -> Evaluation:
        """Add to loss and metrics what was taken for what, and the mistakes that the network was surest of."""
        logits_NK, labels_N = rows
        loss, metrics = self.measured(rows)
        return Evaluation(
            split=split,
            samples=len(labels_N),
            loss=loss,
            metrics=metrics,
            confusion=self.confusion(logits_NK, labels_N),
            mistakes=worst_mistakes(samples, logits_NK, places_N),
        )

    def predictions(self, rows: Rows, places_N: Tensor, *, samples: Samples, split: str) -> Predictions:
        """Give how sure the network was of each class, for each sample."""
        logits_NK, labels_N = rows
        return Predictions(
            split=split,
            classes=self.classes,
            samples=tuple(samples.name(int(place)) for place in places_N),
            labels_N=labels_N.numpy(),
            shares_NK=logits_NK.softmax(1).numpy(),
        )

    def judged_loss(self, logits_NK: Tensor, labels_N: Tensor) -> Tensor:
        """Plain cross-entropy, mean over samples: of validation and test, so that runs can be compared."""
        return F.cross_entropy(logits_NK.float(), labels_N)

    def labels(self, batch: Batch) -> Tensor:
        """Give the labels N of a batch; of mixed samples the label of the larger share."""
        return batch[1].argmax(1) if batch[1].ndim == 2 else batch[1]

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
