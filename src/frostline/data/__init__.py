"""Labelled pictures: where they lie, how they are read, and how they are drawn and changed for training."""

from frostline.data.augment import Augment, Mix, Words, harmless_flip, policy
from frostline.data.faults import Fault, find_faults, refuse
from frostline.data.pictures import open_picture, read_picture
from frostline.data.samples import Samples, Split, split
from frostline.data.sampling import class_weights
from frostline.data.sharing import Share, least_samples
from frostline.data.sources import has_columns, read_samples
from frostline.data.unlabelled import list_pictures

__all__ = [
    "Augment",
    "Fault",
    "Mix",
    "Samples",
    "Share",
    "Split",
    "Words",
    "class_weights",
    "find_faults",
    "harmless_flip",
    "has_columns",
    "least_samples",
    "list_pictures",
    "open_picture",
    "policy",
    "read_picture",
    "read_samples",
    "refuse",
    "split",
]
