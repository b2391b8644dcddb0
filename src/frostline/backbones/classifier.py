"""The layer that classifies, by name: what a new head takes the place of."""

from collections.abc import Iterable

from torch import nn

from frostline.errors import NetworkError


def classifier_name(model: nn.Module) -> str:
    """Name the layer that classifies: the last linear layer or convolution.

    Where the network says by timm's `get_classifier` what classifies, it is the last one in that. A network of
    Hugging Face keeps its classifier beside its body, in a child of its own that has no other such layer.

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
    return next(name for name, module in named if module is layers[-1])


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
