"""A name → a pretrained network: timm, torchvision, our own, or a callable in the user's file."""

import importlib.util
import inspect
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from torch import nn

from frostline.backbones.glyph_resnet import GLYPH_INPUT, GlyphResNet
from frostline.backbones.network import IMAGENET_INPUT, Backbone, InputSpec
from frostline.backbones.weights import load_weights, read_weights
from frostline.errors import FrostlineError, NetworkError, nearest

SOURCES = ("timm", "torchvision", "frostline")
GLYPH_CLASSES = 45
FRESH_CLASSES = 1000
OFFLINE = "name a weights file (`weights: file.safetensors`), or `weights: none` to start from random ones"


def build(name: str, *, weights: str = "pretrained") -> Backbone:
    """Build a network by name and load its weights.

    Args:
        name: `timm/…`, `torchvision/…`, `frostline/…`, or `path/to/file.py:callable` (a class, or a function that
            gives a network).
        weights: `pretrained` (what the source publishes; for a callable: the weights it comes with), `none` (random
            ones), or a file: safetensors, or a pickle that holds nothing but tensors.

    Returns:
        The network in eval mode with its own classifier, and the input that it publishes.

    Raises:
        NetworkError: no such network, or a callable that gives none, or weights that cannot be fetched.
        WeightsError: the weights cannot be read, or are of another architecture.
    """
    from_file = weights not in ("pretrained", "none")
    backbone = _build(name, pretrained=weights == "pretrained")
    notes = backbone.notes
    if weights == "none" and ".py:" in name:
        notes = (*notes, f"weights: none leaves what {name} gives as it is: its own weights are its callable's matter")
    if from_file:
        path = Path(weights)
        fresh = load_weights(backbone.model, read_weights(path), path=path, free=classifier_tensors(backbone.model))
        if fresh:
            notes = (*notes, f"{path.name} has no weights that fit {', '.join(fresh)}: they are new")
    _drop_auxiliary_heads(backbone.model)
    backbone.model.eval()
    return Backbone(name=name, model=backbone.model, input=backbone.input, notes=notes)


def classifier_name(model: nn.Module) -> str:
    """Name the layer that classifies: the last linear layer or convolution.

    Where the network says by timm's `get_classifier` what classifies, it is the last one in that.

    Raises:
        NetworkError: there is none, or the network has several classifiers.
    """
    ask = getattr(model, "get_classifier", None)
    within = ask() if callable(ask) else model
    inner = within.modules() if isinstance(within, nn.Module) else ()
    layers = [module for module in inner if isinstance(module, (nn.Linear, nn.Conv2d)) and module is not model]
    if not layers:
        several = isinstance(within, (tuple, list))
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


def _drop_auxiliary_heads(model: nn.Module) -> None:
    """Take off the classifiers that torchvision's GoogLeNet and Inception have beside their last one."""
    if getattr(model, "aux_logits", None) is True:
        setattr(model, "aux_logits", False)  # noqa: B010 - mypy takes it for a tensor
        for name in ("aux1", "aux2", "AuxLogits"):
            if hasattr(model, name):
                setattr(model, name, None)


def _build(name: str, *, pretrained: bool) -> Backbone:
    source, _, rest = name.partition("/")
    if ".py:" in name:
        return _from_file(name)
    makers: dict[str, Callable[..., Backbone]] = {
        "timm": _from_timm,
        "torchvision": _from_torchvision,
        "frostline": _from_frostline,
    }
    if source not in makers or not rest:
        raise NetworkError(
            f"network {name}",
            found="no name behind the source" if source in makers else f"no such source; {nearest(source, SOURCES)}",
            do="write timm/NAME, torchvision/NAME, or path/to/file.py:callable",
        )
    return makers[source](rest, pretrained=pretrained)


def _unknown(name: str, known: Sequence[str], command: str) -> NetworkError:
    return NetworkError(
        f"network {name}", found=f"no such network; {nearest(name.partition('/')[2], known)}", do=command
    )


def _not_made(name: str, error: Exception, *, pretrained: bool) -> NetworkError:
    text = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {text[0][:160]}" if text else type(error).__name__
    if not pretrained:
        return NetworkError(f"network {name}", found=f"it cannot be built ({reason})", do="name another network")
    return NetworkError(f"network {name}", found=f"its pretrained weights could not be fetched ({reason})", do=OFFLINE)


def _from_timm(name: str, *, pretrained: bool) -> Backbone:
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise _unknown(f"timm/{name}", timm.list_models(), "timm.list_models() lists them")
    tags = [known.partition(".")[2] for known in timm.models.get_arch_pretrained_cfgs(architecture)]
    if tag and tag not in tags:
        raise NetworkError(
            f"network timm/{name}",
            found=f"no weights {tag} for {architecture}; {nearest(tag, tags)}",
            do=f"write one of them, or timm/{architecture} alone",
        )
    try:
        model = timm.create_model(name, pretrained=pretrained)
    except Exception as error:
        raise _not_made(f"timm/{name}", error, pretrained=pretrained) from None
    notes: tuple[str, ...] = ()
    if isinstance(model.get_classifier(), nn.Identity):
        model.reset_classifier(FRESH_CLASSES)
        notes = (f"timm publishes {name} without a classifier: it has a new one",)
    published = timm.data.resolve_model_data_config(model)
    spec = InputSpec(
        size_px=published["input_size"][-1],
        mean=tuple(published["mean"]),
        std=tuple(published["std"]),
        channels="grey" if published["input_size"][0] == 1 else "rgb",
    )
    return Backbone(name=name, model=model, input=spec, notes=notes)


def _from_torchvision(name: str, *, pretrained: bool) -> Backbone:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise _unknown(f"torchvision/{name}", known, "torchvision.models.list_models() lists them")
    published = models.get_model_weights(name).DEFAULT
    try:
        with warnings.catch_warnings():
            # Of an initialisation that will change some day.
            warnings.simplefilter("ignore", FutureWarning)
            model = models.get_model(name, weights=published if pretrained else None)
    except Exception as error:
        raise _not_made(f"torchvision/{name}", error, pretrained=pretrained) from None
    transforms = published.transforms()
    crop = transforms.crop_size
    size_px: int = crop[0] if isinstance(crop, (list, tuple)) else crop
    spec = InputSpec(
        # Without its weights a transformer is made for another size than they were trained at.
        size_px=int(getattr(model, "image_size", size_px)),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )
    return Backbone(name=name, model=model, input=spec)


def _from_frostline(name: str, *, pretrained: bool) -> Backbone:
    if name != "glyph_resnet":
        raise _unknown(f"frostline/{name}", ["glyph_resnet"], "there is one network of our own")
    model = GlyphResNet(num_classes=GLYPH_CLASSES)
    if pretrained:
        with as_file(files("frostline.backbones") / "glyph_resnet.safetensors") as path:
            load_weights(model, read_weights(path), path=path)
    return Backbone(name=name, model=model, input=GLYPH_INPUT)


def _from_file(name: str) -> Backbone:
    file, _, attribute = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise NetworkError(f"network {name}", found=f"no file {path}", do="write path/to/file.py:callable")
    with _beside(path):
        module = _import(path, name)
        made = _call(module, attribute, path=path, name=name)
    spec = _published_by(module, name)
    if spec is not None:
        return Backbone(name=name, model=made, input=spec)
    note = f"{path.name} publishes no MEAN and STD: ImageNet's are used; `data.normalize` and `data.size` say otherwise"
    return Backbone(name=name, model=made, input=IMAGENET_INPUT, notes=(note,))


def _call(module: Any, attribute: str, *, path: Path, name: str) -> nn.Module:
    if not hasattr(module, attribute):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise NetworkError(
            f"network {name}",
            found=f"{path.name} has no {attribute or 'callable without a name'}; {nearest(attribute, known)}",
            do="name one of them",
        )
    try:
        made = getattr(module, attribute)()
    except FrostlineError:
        raise
    except (Exception, SystemExit) as error:
        needs = _required_arguments(getattr(module, attribute))
        hint = (
            f"it must work without arguments, and {attribute} needs {', '.join(needs)}"
            if needs
            else "mend the callable"
        )
        raise NetworkError(f"network {name}", found=f"{type(error).__name__}: {error}", do=hint) from None
    if not isinstance(made, nn.Module):
        raise NetworkError(
            f"network {name}",
            found=f"it gives {type(made).__name__}, which is no torch.nn.Module",
            do="return the network",
        )
    return made


def _published_by(module: Any, name: str) -> InputSpec | None:
    """Read the input that a user's file publishes: MEAN and STD, or nothing where one of them is not there."""
    mean, std = getattr(module, "MEAN", None), getattr(module, "STD", None)
    if mean is None or std is None:
        return None
    try:
        means, stds = tuple(float(value) for value in mean), tuple(float(value) for value in std)
    except (TypeError, ValueError):
        means, stds = (), ()
    if len(means) not in (1, 3) or len(stds) != len(means) or not all(value > 0 for value in stds):
        raise NetworkError(
            f"network {name}",
            found=f"MEAN is {mean} and STD is {std}",
            do="write one number for each channel (3, or 1), and deviations above 0",
        )
    return InputSpec(size_px=IMAGENET_INPUT.size_px, mean=means, std=stds)


@contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Import the files beside a user's file as in a script, also those that its callable imports."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with suppress(ValueError):  # the user's file may have changed the path itself
            sys.path.remove(folder)


def _import(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"frostline_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise NetworkError(f"network {name}", found=f"{path} is no Python file", do="write path/to/file.py:callable")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickles look their module up by name.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        raise NetworkError(
            f"network {name}", found=f"{path} cannot be imported: {type(error).__name__}: {error}", do="mend the file"
        ) from None
    return module


def _required_arguments(made: Any) -> list[str]:
    try:
        parameters = inspect.signature(made).parameters.values()
    except (TypeError, ValueError):
        return []
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_ONLY)
    return [p.name for p in parameters if p.default is p.empty and p.kind in named]
