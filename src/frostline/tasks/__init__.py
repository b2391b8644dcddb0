"""WHAT: one file a task: data, loss, metrics, predictions."""

from frostline.tasks.images import Batch, ImageTask, scores
from frostline.tasks.pictures import check_pictures
from frostline.tasks.samples import Samples, Split, read_class_folders, split

__all__ = ["Batch", "ImageTask", "Samples", "Split", "check_pictures", "read_class_folders", "scores", "split"]
