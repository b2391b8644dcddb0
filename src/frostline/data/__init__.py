"""Labelled samples: where they lie, how they are read, and how they are drawn and changed for training."""

from frostline.data.augment import Augment, Mix, Words, harmless_flip, policy
from frostline.data.buckets import Buckets, bounds_of, each_part, named_parts, pass_by, split_by_length
from frostline.data.faults import Fault, counted, fault_of, find_faults, refuse
from frostline.data.pictures import open_picture, read_picture
from frostline.data.samples import Samples, Split, split
from frostline.data.sampling import class_weights
from frostline.data.sharing import Share, least_samples
from frostline.data.sources import has_columns, read_samples
from frostline.data.text_table import holds_texts, unlabelled
from frostline.data.texts import Texts
from frostline.data.unlabelled import list_pictures, list_texts

__all__ = [
    "Augment",
    "Buckets",
    "Fault",
    "Mix",
    "Samples",
    "Share",
    "Split",
    "Texts",
    "Words",
    "bounds_of",
    "class_weights",
    "counted",
    "each_part",
    "fault_of",
    "find_faults",
    "harmless_flip",
    "has_columns",
    "holds_texts",
    "least_samples",
    "list_pictures",
    "list_texts",
    "named_parts",
    "open_picture",
    "pass_by",
    "policy",
    "read_picture",
    "read_samples",
    "refuse",
    "split",
    "split_by_length",
    "unlabelled",
]
