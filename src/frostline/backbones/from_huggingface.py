"""A name on the Hugging Face hub, or a folder → its classifier of images or texts, or its model of masked words.

Code that comes with a network from the hub is never run, and no weights are unpickled but plain tensors.
"""

import os
import re
import socket
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn

from frostline.backbones.classifier import classifier_name
from frostline.backbones.network import IMAGENET_INPUT, Backbone, InputSpec, Kind, Spec
from frostline.backbones.processor import measured
from frostline.backbones.refusals import first_line
from frostline.backbones.text_input import TextSpec, text_spec
from frostline.backbones.weights import head_of, read_weights
from frostline.errors import NetworkError, WeightsError
from frostline.selection import call, first_tensor

CONFIG = "config.json"
_NUMBER = re.compile(r"\d+")
# What is new where the weights are of a network that was trained for something else than classes.
POOLER = "pooler"
_NO_LABEL = re.compile(r"LABEL_\d+")
CONVERSION = "DISABLE_SAFETENSORS_CONVERSION"
SAVED = "name a folder as `save_pretrained` writes it (config.json, model.safetensors), or ORG/NAME on the hub"
UNREACHED = f"{SAVED}; what was fetched once is found again, and HF_HUB_OFFLINE=1 keeps from trying to fetch anything"


def from_huggingface(name: str, *, weights: str, kind: Kind | None = None, tokenizer: str | None = None) -> Backbone:
    """Build a classifier of transformers, or a masked language model.

    Args:
        name: `ORG/NAME` on the hub, or a folder: relative, or absolute (behind a second slash: `hf//data/vit`).
        weights: `pretrained` (those beside the configuration), `none` (random ones), or a file of weights.
        kind: what it learns; None: what it is made to classify.
        tokenizer: folder, or name on the hub, of the tokenizer of a network for texts; None: the network's own.

    Returns:
        The network with its own classifier, or what gives its words; where its weights have none, with a new one.

    Raises:
        NetworkError: no such folder or network, one that needs code of its own, that classifies nothing of this
            kind, or that has no tokenizer.
        WeightsError: weights that cannot be read, or that are of another architecture.
    """
    asked = f"network hf/{name}"
    where = _place(name, asked)
    with quiet():
        reach = {"local_files_only": not _reachable(where), "trust_remote_code": False}
        config = _config(where, asked, reach)
        kind = kind or _made_for(config)
        chosen, notes = _class(config, kind, asked)
        head: Mapping[str, Tensor] | None = {}
        fresh: tuple[str, ...] = ()
        if weights == "none":
            try:
                model = chosen._from_config(config, dtype=torch.float32)
            except Exception as error:
                raise NetworkError(asked, found=f"it cannot be built ({first_line(error)})", do=SAVED) from None
        else:
            model, head, fresh = _with_weights(
                chosen, config, where=where, weights=weights, kind=kind, asked=asked, reach=reach
            )
        if kind != "images":
            place = where if tokenizer is None else _place(tokenizer, f"tokenizer {tokenizer}", needs=None)
            reach = {**reach, "local_files_only": not _reachable(place)}
            reads = text_spec(place, model, asked=asked, reach=reach)
            for one in (model.config, model.config.get_text_config()):  # pictures may have one beside it
                one.use_cache = False
            fresh = tuple(name for name in fresh if _is_used(model, name, reads))
            spec: Spec = reads
            notes = (*notes, *_of_fresh(fresh))
        else:
            spec, unmeasured = _input(where, config, reach)
            notes = (*notes, *unmeasured)
    labels = tuple(str(label) for _, label in sorted((config.id2label or {}).items()))
    named = kind != "masked_text" and weights == "pretrained" and not all(map(_NO_LABEL.fullmatch, labels))
    return Backbone(
        name=name,
        model=model,
        input=spec,
        notes=notes,
        head=head,
        classes=labels if named else None,
        head_parts=tuple(dict.fromkeys((*_beside(model), *fresh))) if kind != "images" else (),
    )


def _place(name: str, asked: str, *, needs: str | None = CONFIG) -> str:
    """Tell a folder from a name on the hub; a folder has a file of that name."""
    path = Path(name).expanduser()
    if path.is_dir():
        if needs is not None and not (path / needs).is_file():
            raise NetworkError(asked, found=f"the folder {path} has no {needs}", do=SAVED)
        return str(path)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1 or not all(name.split("/")):
        found = "a file, and no folder" if path.exists() else f"no folder {path}"
        raise NetworkError(asked, found=found, do=SAVED)
    return name


def _config(where: str, asked: str, reach: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(where, **reach)
    except Exception as error:
        raise _refused(error, where, asked) from None


def _refused(error: Exception, where: str, asked: str) -> NetworkError:
    """Tell in one line why a configuration or weights were not read."""
    text = " ".join(str(error).split())
    if "trust_remote_code" in text:
        return NetworkError(
            asked,
            found="it needs code of its own, which is never run here",
            do="name a network that is part of transformers, or write path/to/file.py:callable",
        )
    if not Path(where).is_dir() and isinstance(error, OSError):
        return NetworkError(
            asked, found=f"no folder {where}, and it cannot be fetched from the hub ({text[:160]})", do=UNREACHED
        )
    return NetworkError(asked, found=f"it cannot be read ({type(error).__name__}: {text[:160]})", do=SAVED)


def _classifiers() -> dict[Kind, Any]:
    """Give the classes of transformers that learn each kind of thing, by the kind of their configuration."""
    import transformers

    return {
        "images": transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
        "text": transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        "masked_text": transformers.MODEL_FOR_MASKED_LM_MAPPING,
    }


def _made_for(config: Any) -> Kind:
    """Say what a network classifies: images, where it is not one for texts alone."""
    every = _classifiers()
    return "text" if type(config) in every["text"] and type(config) not in every["images"] else "images"


def _class(config: Any, kind: Kind, asked: str) -> tuple[Any, tuple[str, ...]]:
    """Choose the class that classifies: the one that was saved, but never one with several classifiers."""
    every = _classifiers()
    if kind == "masked_text":
        if type(config) not in every[kind]:
            found = f"a network of the kind {config.model_type}, of which there is no masked language model"
            raise NetworkError(asked, found=found, do="name one that has been trained so, such as BERT or RoBERTa")
        return every[kind][type(config)], ()
    if type(config) not in every[kind]:
        other: Kind = "images" if kind == "text" else "text"
        what, can = "texts" if kind == "text" else "images", type(config) in every[other]
        raise NetworkError(
            asked,
            found=f"a network of the kind {config.model_type}, which classifies no {what}",
            do=f"write `task: {other}`, or name another network" if can else f"name one that classifies {what}",
        )
    published: Any = every[kind][type(config)]
    kinds = tuple(published) if isinstance(published, (tuple, list)) else (published,)
    saved = next((kind for kind in kinds if kind.__name__ in (config.architectures or ())), kinds[0])
    chosen = next((kind for kind in (saved, *kinds) if len(kinds) == 1 or _has_one_classifier(kind, config)), saved)
    if chosen is saved:
        return chosen, ()
    return chosen, (f"{saved.__name__} has several classifiers: it is loaded as {chosen.__name__}, which has one",)


def _has_one_classifier(kind: Any, config: Any) -> bool:
    try:
        with torch.device("meta"):
            classifier_name(kind._from_config(config))
    except NetworkError:
        return False
    return True


def _with_weights(
    made: Any, config: Any, *, where: str, weights: str, kind: Kind, asked: str, reach: dict[str, Any]
) -> tuple[nn.Module, Mapping[str, Tensor] | None, tuple[str, ...]]:
    """Make the network with its weights, in transformers' own way: it knows the names of older versions too.

    Returns:
        The network; the head that the weights have: none, another one, or the network's (None); and the names of what
        of its body is new, since the weights do not have it.
    """
    from_file = weights != "pretrained"
    state = read_weights(Path(weights)) if from_file else None
    source = (
        {"pretrained_model_name_or_path": None, "state_dict": state}
        if from_file
        else {"pretrained_model_name_or_path": where, **reach}
    )
    try:
        model, loaded = made.from_pretrained(
            **source,
            config=config,
            dtype=torch.float32,
            weights_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as error:
        refused = _refused(error, where, asked)
        raise WeightsError(f"weights {weights}" if from_file else asked, found=refused.found, do=refused.do) from None
    missing = sorted({*loaded["missing_keys"], *(name for name, *_ in loaded["mismatched_keys"])})
    pooler = f"{model.base_model_prefix}.{POOLER}."
    # Parts that a new classifier does not replace.
    kept = {"images": (), "text": (pooler[:-1],), "masked_text": _beside(model)}[kind]
    fresh = tuple(part for part in kept if any(name.startswith(f"{part}.") for name in missing))
    body = [name for name in missing if not (fresh and name.startswith(pooler)) and not _is_head(model, name)]
    more = _more_layers(model, loaded["unexpected_keys"])
    if body or more:
        raise WeightsError(
            f"weights {weights}" if from_file else asked,
            found=f"they are of another architecture than {type(model).__name__}: "
            + (
                f"{len(body)} of its tensors are missing or of another shape (such as {body[0]})"
                if body
                else f"they have {len(more)} tensors of more layers (such as {more[0]})"
            ),
            do="name the network that these weights were trained in",
        )
    if not missing:
        return model, None, ()
    return model, head_of(state or {}, classifier_name(model)), fresh


def _is_used(model: nn.Module, name: str, spec: TextSpec) -> bool:
    """Whether the scores depend on a part."""
    weights = list(model.get_submodule(name).parameters())
    with torch.enable_grad():
        output = first_tensor(call(model.eval(), spec.example()))
        if output is None or not output.requires_grad:
            return False
        return any(one is not None for one in torch.autograd.grad(output.sum(), weights, allow_unused=True))


def _of_fresh(fresh: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{name} is not among the weights: it is new, and trained as a part of the head" for name in fresh)


def _beside(model: Any) -> tuple[str, ...]:
    """Name the parts beside the body, which every kind of task has its own of."""
    return tuple(
        name
        for name, part in model.named_children()
        if name != model.base_model_prefix and next(part.parameters(), None) is not None
    )


def _more_layers(model: Any, unexpected: Iterable[str]) -> list[str]:
    """Name tensors of layers that the network has too, but not so many; a head of another kind is none."""
    head, _, _ = classifier_name(model).rpartition(".")
    own = {_NUMBER.sub("#", name) for name in model.state_dict() if not (head and name.startswith(f"{head}."))}
    body = f"{model.base_model_prefix}."
    return sorted(name for name in unexpected if {_NUMBER.sub("#", name), body + _NUMBER.sub("#", name)} & own)


def _is_head(model: Any, name: str) -> bool:
    """Whether a tensor is not of the body: weights of a body alone, without its classifier, are as good."""
    body = model.base_model_prefix
    beside = bool(body) and hasattr(model, body) and not name.startswith(f"{body}.")
    return beside or name.startswith(f"{classifier_name(model)}.")


def _input(where: str, config: Any, reach: dict[str, Any]) -> tuple[InputSpec, tuple[str, ...]]:
    """Find what the network takes: what its image processor gives, else its size and ImageNet's normalisation."""
    from transformers import AutoImageProcessor

    processors: Any = AutoImageProcessor
    num_channels = _says(config, "num_channels") or 3
    try:
        spec = measured(processors.from_pretrained(where, **reach), num_channels=num_channels)
        why = "its image processor gives no square picture"
    except OSError:
        spec, why = None, "it comes without an image processor"
    except Exception as error:  # a damaged one, or one for more than pictures
        spec, why = None, f"its image processor cannot be used ({first_line(error)[:100]})"
    if spec is not None:
        return spec, ()
    size = _says(config, "image_size") or IMAGENET_INPUT.size_px
    fallback = InputSpec(
        size_px=int(size[0] if isinstance(size, (list, tuple)) else size),
        mean=IMAGENET_INPUT.mean[:num_channels],
        std=IMAGENET_INPUT.std[:num_channels],
        channels="grey" if num_channels == 1 else "rgb",
    )
    return fallback, (
        f"{why}: {fallback.size_px} px and ImageNet's mean and std are used; `data.size` and `data.normalize` say "
        "otherwise",
    )


def _says(config: Any, key: str) -> Any:
    """Look a value up in a configuration, or in its part for pictures: networks for pictures and text nest it there."""
    return getattr(config, key, None) or getattr(getattr(config, "vision_config", None), key, None)


def _reachable(where: str) -> bool:
    """Whether a try to reach the hub is worth its retries, which take most of a minute where there is no network."""
    from huggingface_hub import constants

    if Path(where).is_dir() or constants.HF_HUB_OFFLINE:
        return False
    host = urlsplit(constants.ENDPOINT).hostname
    if urllib.request.getproxies() or host is None:
        return True
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what transformers reports while it loads from the user, and start no conversion of weights on the hub."""
    import transformers

    logging: Any = transformers.logging
    verbosity, bars, before = logging.get_verbosity(), logging.is_progress_bar_enabled(), os.environ.get(CONVERSION)
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    os.environ[CONVERSION] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[CONVERSION]
        else:
            os.environ[CONVERSION] = before
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
