"""The head in the place of the layer that classifies: `linear`, or `few_shot` for a handful of pictures a class."""

from typing import Any, Literal

from torch import nn

from frostline.errors import NetworkError

HeadName = Literal["linear", "few_shot"]
FEW_SHOT_WIDTH = 256
FEW_SHOT_DROPOUT = 0.5


def replace_classifier(model: nn.Module, name: str, *, num_classes: int, head: HeadName = "linear") -> None:
    """Put a new head for `num_classes` in the place of the layer that classifies, with its input.

    Args:
        model: changed in place.
        name: dotted name of the layer: a linear layer or a convolution.
        num_classes: number of outputs.
        head: `linear`: one layer of the kind that was there; `few_shot`: such a layer to 256, ReLU, dropout of one
            half, and one to the classes.

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
    if not isinstance(old, (nn.Linear, nn.Conv2d)):
        raise NetworkError(
            f"a new classifier in place of {name}",
            found=f"{type(old).__name__}",
            do="name a linear layer or a convolution",
        )
    setattr(model.get_submodule(parent_name), own_name, _HEADS[head](old, num_classes))


def _linear(old: nn.Linear | nn.Conv2d, num_classes: int) -> nn.Module:
    if isinstance(old, nn.Linear):
        return nn.Linear(old.in_features, num_classes, **_numbers(old))
    return nn.Conv2d(old.in_channels, num_classes, **_geometry(old), **_numbers(old))


def _few_shot(old: nn.Linear | nn.Conv2d, num_classes: int) -> nn.Module:
    first = _linear(old, FEW_SHOT_WIDTH)
    numbers: dict[str, Any] = {"device": old.weight.device, "dtype": old.weight.dtype}
    last: nn.Module = (
        nn.Linear(FEW_SHOT_WIDTH, num_classes, **numbers)
        if isinstance(old, nn.Linear)
        else nn.Conv2d(FEW_SHOT_WIDTH, num_classes, kernel_size=1, **numbers)
    )
    return nn.Sequential(first, nn.ReLU(), nn.Dropout(FEW_SHOT_DROPOUT), last)


_HEADS = {"linear": _linear, "few_shot": _few_shot}


def _numbers(layer: nn.Linear | nn.Conv2d) -> dict[str, Any]:
    return {"bias": layer.bias is not None, "device": layer.weight.device, "dtype": layer.weight.dtype}


def _geometry(conv: nn.Conv2d) -> dict[str, Any]:
    return {name: getattr(conv, name) for name in ("kernel_size", "stride", "padding", "dilation", "padding_mode")}
