"""Merge adapters into the layers that they are around: what is left is the network that it was, with other weights."""

import copy
from typing import Any

from torch import nn

from frostline.errors import NetworkError
from frostline.freezing import check_free
from frostline.lora.adapt import take_out
from frostline.lora.kinds import is_wrapped
from frostline.selection import adapted_layers, parents_of


def merge_adapters(model: nn.Module) -> None:
    """Merge the adapters of a network into its layers and take them out; it computes what it did, but for rounding.

    Args:
        model: changed in place; without adapters it is left as it is.

    Raises:
        PlanError: a plan is in force on the network.
        NetworkError: an adapter cannot be merged, or PEFT has wrapped the network; it is as it was, but for rounding.
    """
    check_free(model, "merging of adapters")
    layers = adapted_layers(model)
    upon = (name for name, (_, depth) in layers.items() if depth > 1 or set(parents_of(name)) & layers.keys())
    inner = next(upon, None)
    if inner is not None or (layers and is_wrapped(model)):
        what = f"{inner} has adapters upon adapters" if inner else "PEFT has wrapped the network"
        raise NetworkError("merging of adapters", found=what, do="use PEFT's own `merge_and_unload`")
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
    take_out(model)


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
