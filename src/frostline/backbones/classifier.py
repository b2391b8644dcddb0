"""The layer that classifies, by name: what a new head takes the place of."""

from collections.abc import Iterable, Sequence
from copy import deepcopy

import torch
from torch import nn

from frostline.errors import NetworkError
from frostline.selection.inputs import IMAGE_SIZES_PX
from frostline.selection.trace import trace

_IN_ORDER = ("torch", "torchvision", "timm", "transformers", "ultralytics", "frostline")


def classifier_name(model: nn.Module) -> str:
    """Name the layer that classifies: the last linear layer or convolution.

    Where the network says by timm's `get_classifier` what classifies, it is the last one in that. A network of
    Hugging Face keeps its classifier beside its body, in a child of its own that has no other such layer. Libraries
    write their layers down in the order in which they run; of anybody else's network the last to run is taken, of those
    that give as many numbers as the network does (another head may run behind the one that classifies), where it runs
    on a picture of some usual size.

    Raises:
        NetworkError: there is none, or the network has several classifiers.
    """
    several = False
    within: Iterable[nn.Module] = model.modules()
    ask = getattr(model, "get_classifier", None)
    if callable(ask):
        published = ask()
        several = isinstance(published, (tuple, list))
        within = published.modules() if isinstance(published, nn.Module) else ()
    elif hasattr(model, "base_model_prefix"):
        beside = _beside_the_body(model)
        # Teachers and distilled heads are of one shape with the classifier beside them, and its score is their mean.
        several = len(beside) > 1 and beside[-1].weight.shape == beside[-2].weight.shape
        within = beside or within
    layers = [module for module in within if isinstance(module, (nn.Linear, nn.Conv2d)) and module is not model]
    if not layers or several:
        raise NetworkError(
            f"classifier of {type(model).__name__}",
            found="it has several" if several else "it has no linear layer and no convolution",
            do="name another network",
        )
    named: Iterable[tuple[str, nn.Module]] = model.named_modules()
    chosen = set(layers)
    names = [name for name, module in named if module in chosen]
    return names[-1] if type(model).__module__.partition(".")[0] in _IN_ORDER else _last_to_run(model, names)


def _last_to_run(model: nn.Module, names: Sequence[str]) -> str:
    """Name the last of some layers to run on a picture, or the last one where the network takes none."""
    try:
        twin = deepcopy(model)  # a network may keep what it computes, and is not run before it has its weights
    except Exception:  # whatever a stranger's class raises that cannot be copied
        return names[-1]
    pictures = (torch.zeros(1, channels, *size) for channels in (3, 1) for size in IMAGE_SIZES_PX)
    calls = next((calls for picture in pictures if (calls := trace(twin, picture).calls)), {})
    ran = {name: calls[layer] for name in names if (layer := twin.get_submodule(name)) in calls}
    like_it = {name: call for name, call in ran.items() if call.shape[:2] == calls[twin].shape[:2]}
    return max(like_it or ran, key=lambda name: ran[name].order, default=names[-1])


def classifier_tensors(model: nn.Module) -> tuple[str, ...]:
    """Name the weight and bias of the layer that classifies: a new head replaces them anyway."""
    name = classifier_name(model)
    return tuple(f"{name}.{tensor}" for tensor, _ in model.get_submodule(name).named_parameters())


def _beside_the_body(model: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    """Find the layers of children that hold one alone, in the order of their definition."""
    found = [
        [module for module in child.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
        for child in model.children()
    ]
    return [layers[0] for layers in found if len(layers) == 1]
