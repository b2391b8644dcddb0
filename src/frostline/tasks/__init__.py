"""WHAT: one file a task: loss, metrics, predictions, and the batches they are of."""

from frostline.tasks.classification import Batch, Classification, Inputs, moved, scores, shape_of
from frostline.tasks.images import ImageTask
from frostline.tasks.mistakes import worst_mistakes

__all__ = ["Batch", "Classification", "ImageTask", "Inputs", "moved", "scores", "shape_of", "worst_mistakes"]
