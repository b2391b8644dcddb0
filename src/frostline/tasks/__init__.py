"""WHAT: one file a task: loss, metrics, predictions, and the batches they are of."""

from frostline.tasks.classification import Classification
from frostline.tasks.images import ImageTask
from frostline.tasks.masked_texts import MaskedTextTask
from frostline.tasks.mistakes import worst_mistakes
from frostline.tasks.task import Batch, Inputs, Loader, Rows, Task, moved, scores, shape_of
from frostline.tasks.teacher import Teacher
from frostline.tasks.texts import TextTask

__all__ = [
    "Batch",
    "Classification",
    "ImageTask",
    "Inputs",
    "Loader",
    "MaskedTextTask",
    "Rows",
    "Task",
    "Teacher",
    "TextTask",
    "moved",
    "scores",
    "shape_of",
    "worst_mistakes",
]
