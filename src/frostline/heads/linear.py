"""The linear head: the layer that classifies, made anew for another number of classes."""

from typing import Any

from torch import nn

from frostline.errors import NetworkError


def replace_classifier(model: nn.Module, name: str, *, num_classes: int) -> None:
    """Put a new layer for `num_classes` in the place of the one that classifies, of its kind and with its input.

    Args:
        model: changed in place.
        name: dotted name of the layer: a linear layer or a convolution.
        num_classes: number of outputs.

    Raises:
        NetworkError: there is no such layer, or it is of another kind.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(64, 1000))
    >>> replace_classifier(net, "1", num_classes=10)
    >>> net[1]
    Linear(in_features=64, out_features=10, bias=True)
    """
    parent_name, _, own_name = name.rpartition(".")
    old = dict(model.named_modules()).get(name) if name else None
    if old is None:
        raise NetworkError(
            f"a new classifier in place of {name or 'the whole network'}",
            found=f"no such layer in {type(model).__name__}",
            do="name a layer inside the network",
        )
    if isinstance(old, nn.Linear):
        new: nn.Module = nn.Linear(old.in_features, num_classes, **_numbers(old))
    elif isinstance(old, nn.Conv2d):
        new = nn.Conv2d(old.in_channels, num_classes, **_geometry(old), **_numbers(old))
    else:
        raise NetworkError(
            f"a new classifier in place of {name}",
            found=f"{type(old).__name__}",
            do="name a linear layer or a convolution",
        )
    setattr(model.get_submodule(parent_name), own_name, new)


def _numbers(layer: nn.Linear | nn.Conv2d) -> dict[str, Any]:
    return {"bias": layer.bias is not None, "device": layer.weight.device, "dtype": layer.weight.dtype}


def _geometry(conv: nn.Conv2d) -> dict[str, Any]:
    return {name: getattr(conv, name) for name in ("kernel_size", "stride", "padding", "dilation", "padding_mode")}
