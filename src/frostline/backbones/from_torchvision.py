"""A name in torchvision → its network, with the input that its weights' transforms publish."""

import re
import warnings
from collections.abc import Mapping

from torch import Tensor, nn

from frostline.backbones.network import Backbone, InputSpec
from frostline.backbones.refusals import not_made, unknown

AUXILIARY = ("aux1", "aux2", "AuxLogits")
# Names in published files that torchvision changes where it loads them itself.
_DENSE = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
_MLP = re.compile(r"\.mlp\.linear_([12])\.")


def from_torchvision(name: str, *, pretrained: bool) -> Backbone:
    """Build a classifier of torchvision.

    Args:
        name: as `torchvision.models.list_models` lists it.
        pretrained: fetch its default weights; else they are random.

    Raises:
        NetworkError: no such network, or weights that cannot be fetched.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise unknown(f"torchvision/{name}", known, "torchvision.models.list_models() lists them")
    published = models.get_model_weights(name).DEFAULT
    transforms = published.transforms()
    crop = transforms.crop_size
    size_px: int = crop[0] if isinstance(crop, (list, tuple)) else crop
    try:
        with warnings.catch_warnings():
            # Of an initialisation that will change some day.
            warnings.simplefilter("ignore", FutureWarning)
            model = models.get_model(name, weights=published if pretrained else None)
            if getattr(model, "image_size", size_px) != size_px:
                # Without its weights a transformer is made for another size than they were trained at.
                model = models.get_model(name, weights=None, image_size=size_px)
    except Exception as error:
        raise not_made(f"torchvision/{name}", error, pretrained=pretrained) from None
    if hasattr(model, "transform_input"):
        # Weights of other hands, which want another input than the transforms give: with them, torchvision has the
        # network change it. Without, it does not; but a file of these weights needs it no less.
        model.transform_input = True
    spec = InputSpec(size_px=size_px, mean=tuple(transforms.mean), std=tuple(transforms.std))
    return Backbone(name=name, model=model, input=spec)


def as_named_now(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the tensors of published files as the layers are called by now: DenseNet's, and MLPs of transformers."""
    named = {}
    for name, tensor in state.items():
        dense = _DENSE.sub(r"\1\2", name)
        named[_MLP.sub(lambda found: f".mlp.{3 * (int(found[1]) - 1)}.", dense)] = tensor
    return named


def auxiliary_tensors(model: nn.Module) -> tuple[str, ...]:
    """Name the tensors of the classifiers that GoogLeNet and Inception have beside their last one."""
    return tuple(name for name in model.state_dict() if _has_auxiliary(model) and name.split(".")[0] in AUXILIARY)


def drop_auxiliary_heads(model: nn.Module) -> None:
    """Take off the classifiers that GoogLeNet and Inception have beside their last one."""
    if _has_auxiliary(model):
        setattr(model, "aux_logits", False)  # noqa: B010 - mypy takes it for a tensor
        for name in AUXILIARY:
            if hasattr(model, name):
                setattr(model, name, None)


def _has_auxiliary(model: nn.Module) -> bool:
    return getattr(model, "aux_logits", None) is True
