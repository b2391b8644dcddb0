"""Merge adapters into the layers that they are around: what is left is the network that it was, with other weights."""

import copy
from typing import Any

from torch import nn

from frostline.errors import NetworkError
from frostline.freezing import check_free
from frostline.selection import adapted_layers, bare


def merge_adapters(model: nn.Module) -> None:
    """Merge the adapters of a network into its layers and take them out; it computes what it did, but for rounding.

    Args:
        model: changed in place; without adapters it is left as it is.

    Raises:
        PlanError: a plan is in force on the network.
        NetworkError: an adapter cannot be merged; the network is as it was, but for rounding.
    """
    check_free(model, "merging of adapters")
    layers = adapted_layers(model)
    done: list[Any] = []
    try:
        for name, (layer, _) in layers.items():  # noqa: B007 - the error names the last
            done.append(layer)
            layer.merge(safe_merge=True)  # type: ignore[operator] # PEFT's layers have it
    except Exception as error:  # of kinds that know no merging, or weights that are no numbers any more
        for layer in done:
            if layer.merged:
                layer.unmerge()
        found = f"that of {name} cannot be merged ({type(error).__name__}: {' '.join(str(error).split())[:160]})"
        raise NetworkError("merging of adapters", found=found, do="use the network with them") from None
    for name, (layer, _) in layers.items():
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, bare(layer))
    if hasattr(model, "peft_config"):
        del model.peft_config


def merged(model: nn.Module) -> nn.Module:
    """Give a network with its adapters merged, in eval mode: itself where it has none, else a copy.

    Raises:
        NetworkError: as `merge_adapters`.
    """
    if not adapted_layers(model):
        return model
    other = copy.deepcopy(model)
    merge_adapters(other)
    return other.eval()
