"""Tiny image classifiers of transformers, saved into folders as their users save them."""

from pathlib import Path
from typing import Any

import transformers
from PIL import Image
from transformers import logging

SIDE = 32
NUM_LABELS = 6
_VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": SIDE,
    "patch_size": 8,
}
_FOUR = {"embedding_size": 8, "hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1]}
# Family → class, and a configuration that needs milliseconds; each keeps its classifier in its own way.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("ViTForImageClassification", _VIT),
    "deit": ("DeiTForImageClassification", _VIT),
    "beit": ("BeitForImageClassification", _VIT),
    "dinov2": ("Dinov2ForImageClassification", _VIT),
    "resnet": ("ResNetForImageClassification", _FOUR),
    "convnext": ("ConvNextForImageClassification", {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}),
    "swin": (
        "SwinForImageClassification",
        {"image_size": SIDE, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
    ),
    "levit": (
        "LevitForImageClassification",
        {
            "image_size": 64,
            "hidden_sizes": [16, 16, 16],
            "num_attention_heads": [1, 1, 1],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
        },
    ),
    "mobilevit": (
        "MobileViTForImageClassification",
        {
            "image_size": 64,
            "hidden_sizes": [16, 16, 16],
            "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16],
            "num_attention_heads": 2,
        },
    ),
    "regnet": (
        "RegNetForImageClassification",
        {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "groups_width": 8},
    ),
}


def config_of(family: str, **changes: Any) -> Any:
    class_name, settings = FAMILIES[family]
    kind = getattr(transformers, class_name).config_class
    return kind(**{**settings, "num_labels": NUM_LABELS, **changes})


def save(folder: Path, family: str = "vit", *, class_name: str = "", processor: Any = None, **changes: Any) -> Path:
    """Save a network with random weights, and a processor where one is given."""
    config = config_of(family, **changes)
    model = getattr(transformers, class_name or FAMILIES[family][0])(config)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    if processor is not None:
        processor.save_pretrained(folder)
    return folder


def plain(colour: tuple[int, int, int], *, side: int = 200) -> Image.Image:
    return Image.new("RGB", (side, side), colour)
