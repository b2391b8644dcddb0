"""A name → a pretrained network: timm, torchvision, Hugging Face, ultralytics, our own, or the user's file."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from frostline.backbones.classifier import classifier_name, classifier_tensors
from frostline.backbones.from_file import from_file
from frostline.backbones.from_frostline import from_frostline
from frostline.backbones.from_huggingface import from_huggingface
from frostline.backbones.from_timm import from_timm
from frostline.backbones.from_torchvision import as_named_now, auxiliary_tensors, drop_auxiliary_heads, from_torchvision
from frostline.backbones.from_ultralytics import from_ultralytics
from frostline.backbones.network import Backbone, Kind
from frostline.backbones.text_input import TextSpec
from frostline.backbones.weights import head_of, load_weights, read_weights, unwrapped
from frostline.errors import NetworkError, nearest

# Networks whose weights have the names of their layers.
_PLAIN: dict[str, Callable[..., Backbone]] = {
    "timm": from_timm,
    "torchvision": from_torchvision,
    "frostline": from_frostline,
}
SOURCES = ("timm", "torchvision", "hf", "ultralytics", "frostline")


def build(
    name: str, *, weights: str = "pretrained", kind: Kind | None = None, tokenizer: str | None = None
) -> Backbone:
    """Build a network by name and load its weights.

    Args:
        name: `timm/…`, `torchvision/…`, `hf/ORG/NAME`, `hf/FOLDER`, `ultralytics/…`, `frostline/…`, or
            `path/to/file.py:callable` (a class, or a function that gives a network).
        weights: `pretrained` (what the source publishes; for a callable: the weights it comes with), `none` (random
            ones), or a file: safetensors, or a pickle that holds nothing but tensors; for ultralytics its `.pt` too.
        kind: what it shall learn; None: what it is made for.
        tokenizer: of a network for texts, a folder or ORG/NAME; None: the network's own.

    Returns:
        The network in eval mode with its own classifier, and the input that it publishes.

    Raises:
        NetworkError: no such network, a callable that gives none, weights that cannot be fetched, or a network that
            does not classify what it shall.
        WeightsError: the weights cannot be read, or are of another architecture.
    """
    source, _, rest = name.partition("/")
    if ".py:" in name:
        made = _filled(from_file(name), name, weights)
    elif source not in SOURCES or not rest:
        raise NetworkError(
            f"network {name}",
            found="no name behind the source" if source in SOURCES else f"no such source; {nearest(source, SOURCES)}",
            do="write timm/NAME, torchvision/NAME, hf/ORG/NAME, or path/to/file.py:callable",
        )
    elif source == "hf":
        made = from_huggingface(rest, weights=weights, kind=kind, tokenizer=tokenizer)
    elif source == "ultralytics":
        made = from_ultralytics(rest, weights=weights)
    else:
        made = _filled(_PLAIN[source](rest, pretrained=weights == "pretrained"), name, weights)
    if kind not in (None, "images") and not isinstance(made.input, TextSpec):
        raise NetworkError(
            f"network {name}", found="a network that reads no texts", do="name one of transformers: hf/…"
        )
    made.model.eval()
    return replace(made, name=name)


def _filled(backbone: Backbone, name: str, weights: str) -> Backbone:
    """Load a file of weights, where one is named."""
    notes, head, model = backbone.notes, backbone.head, backbone.model
    if weights == "none":
        head = {}
        if ".py:" in name:
            notes = (
                *notes,
                f"weights: none leaves what {name} gives as it is: its own weights are its callable's matter",
            )
    elif weights != "pretrained":
        path = Path(weights)
        state = unwrapped(read_weights(path), model.state_dict())
        if name.startswith("torchvision/"):
            state = as_named_now(state)
        load_weights(model, state, path=path, free=(*classifier_tensors(model), *auxiliary_tensors(model)))
        head = head_of(state, classifier_name(model))
    # Not before: a file of published weights has them too.
    drop_auxiliary_heads(model)
    return replace(backbone, notes=notes, head=head)
