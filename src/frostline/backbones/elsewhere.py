"""The same network as its own library makes it, without frostline: what exported weights must load into."""

import warnings
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """A network made by its own library, with random weights, and the expression that makes it."""

    model: nn.Module
    code: str


def elsewhere(name: str, *, num_classes: int, like: nn.Module) -> Elsewhere | None:
    """Make a network of timm or torchvision for a number of classes, as one who has only that library would.

    Args:
        name: as `build` takes it.
        num_classes: number of outputs.
        like: the same network of ours.

    Returns:
        The network in eval mode; nothing where no library but frostline makes it from its name alone.
    """
    source, _, rest = name.partition("/")
    options: dict[str, Any] = {"num_classes": num_classes}
    if ".py:" in name or source not in ("timm", "torchvision"):
        return None
    if source == "timm":
        import timm

        model = timm.create_model(rest, **options)
        return Elsewhere(model=model.eval(), code=f"timm.create_model({_call(rest, options)})")
    from torchvision import models

    if hasattr(like, "transform_input"):
        # GoogLeNet and Inception, for which torchvision changes these with the weights.
        options |= {"aux_logits": False, "transform_input": like.transform_input, "init_weights": False}
    size_px = getattr(like, "image_size", 224)
    if size_px != 224:
        options["image_size"] = size_px
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        network: nn.Module = models.get_model(rest, weights=None, **options)
    return Elsewhere(model=network.eval(), code=f"torchvision.models.get_model({_call(rest, options)})")


def _call(name: str, options: dict[str, Any]) -> str:
    return ", ".join([f'"{name}"', *(f"{key}={value!r}" for key, value in options.items())])
