"""WHAT: one file a task: loss, metrics, predictions, and the batches they are of."""

from frostline.tasks.images import Batch, ImageTask, scores
from frostline.tasks.mistakes import worst_mistakes

__all__ = ["Batch", "ImageTask", "scores", "worst_mistakes"]
