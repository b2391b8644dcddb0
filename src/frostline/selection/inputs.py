"""Guess what a network takes, for one forward pass: from what it publishes, else from its first layer with weights."""

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

# Tried in this order on a network that does not say what it takes; most nets accept the first. Readers of text lines
# take lines.
IMAGE_SIZES_PX = ((224, 224), (64, 64), (32, 32), (112, 112), (384, 384), (48, 320), (32, 100), (24, 94))
VIDEO_SIZES = ((16, 112, 112), (16, 224, 224))
GENERATOR_SIZES_PX = (1, 4, 16)
NUM_TOKENS = 16
NUM_SAMPLES = (16_000, 3_000)

ExampleInput = Tensor | Sequence[Any] | Mapping[str, Any]

_TELLING = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear, nn.Embedding, nn.EmbeddingBag, nn.RNNBase)


def guesses(model: nn.Module) -> Iterator[ExampleInput]:
    """Give inputs that may fit, the likeliest first.

    What a network publishes comes first: timm's `pretrained_cfg`, Hugging Face's `config`, `dummy_inputs` and
    `main_input_name`. A forward that needs several inputs gets them too: from the first layers of its parts in the
    order they are written, or the same one several times. Last comes what the first convolution takes, wherever it is
    written: what is written first need not run first. A network that reads pictures in texts is asked how many places
    a picture takes, so it should be in eval mode, and nothing of it may be lost.
    """
    yield from _pictures_in_texts(model)
    singles = list(_singles(model))
    count = _count_required(model)
    if count <= 1:
        yield from singles
    else:
        parts = [tried for child in model.children() if (tried := list(_singles(child)))][:count]
        if len(parts) == count:
            for index in range(max(map(len, parts))):
                yield tuple(tried[min(index, len(tried) - 1)] for tried in parts)
        yield from ((single,) * count for single in singles)
    yield from _in_words(model, singles)
    for single in _by_convolution(model):
        yield single if count <= 1 else (single,) * count


def _by_convolution(model: nn.Module) -> Iterator[Tensor]:
    """Give what the first convolution takes, where something else that tells is written before it."""
    telling = next((module for module in model.modules() if isinstance(module, _TELLING)), None)
    first = next((module for module in model.modules() if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))), None)
    if first is not None and first is not telling:
        yield from _singles(nn.Sequential(first))


def _count_required(model: nn.Module) -> int:
    """Count the arguments that its forward cannot do without."""
    try:
        given = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return 1
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(one.kind in kinds and one.default is inspect.Parameter.empty for one in given)


def _singles(model: nn.Module) -> Iterator[Tensor]:
    """Give single tensors: the size a network publishes, or what its first layer with weights takes."""
    first = next((module for module in model.modules() if isinstance(module, _TELLING)), None)
    if first is None:
        return
    weight = next(first.parameters())

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(1, *shape, device=weight.device, dtype=weight.dtype)

    published = getattr(model, "pretrained_cfg", None) or {}
    if isinstance(published, Mapping) and "input_size" in published:
        yield zeros(*published["input_size"])
    if isinstance(first, nn.Conv3d):
        for size in VIDEO_SIZES:
            yield zeros(first.in_channels, *size)
    elif isinstance(first, nn.ConvTranspose2d):
        for side in GENERATOR_SIZES_PX:
            yield zeros(first.in_channels, side, side)
    elif isinstance(first, nn.Conv2d):
        said = getattr(getattr(model, "config", None), "image_size", None)
        if isinstance(said, int):
            yield zeros(first.in_channels, said, said)
        for height, width in IMAGE_SIZES_PX:
            yield zeros(first.in_channels, height, width)
    elif isinstance(first, nn.Conv1d):
        for length in NUM_SAMPLES:
            yield zeros(first.in_channels, length)
        if first.in_channels == 1:
            yield zeros(NUM_SAMPLES[0])
    elif isinstance(first, nn.RNNBase):
        yield zeros(NUM_TOKENS, first.input_size)
    elif isinstance(first, nn.Linear):
        yield zeros(first.in_features)
        yield zeros(NUM_TOKENS, first.in_features)
    else:
        yield torch.zeros(1, NUM_TOKENS, dtype=torch.long, device=weight.device)


def _in_words(model: nn.Module, singles: Sequence[Tensor]) -> Iterator[Mapping[str, Any]]:
    """Give keyword arguments, for a network of Hugging Face that a tensor alone does not satisfy."""
    name = getattr(model, "main_input_name", None)
    if not isinstance(name, str) or not hasattr(model, "config"):
        return
    tokens = torch.zeros(1, NUM_TOKENS, dtype=torch.long, device=next(model.parameters()).device)
    yield {"input_ids": tokens, "decoder_input_ids": tokens}
    for single in singles:
        yield {name: single, "decoder_input_ids": tokens}
        yield {name: single, "input_ids": tokens}
        yield {name: single}
    yield from ({"input_ids": tokens, "pixel_values": image} for image in _images(model, tokens.device))


def _pictures_in_texts(model: nn.Module) -> Iterator[Mapping[str, Any]]:
    """Give a text with a picture in it, for a reader of both: a text alone would leave half of the network unused."""
    features = getattr(model, "get_image_features", None)
    token = getattr(getattr(model, "config", None), "image_token_id", None)
    device = next(model.parameters()).device
    if not callable(features) or not isinstance(token, int) or device.type == "meta":
        return  # without values such a network cannot find the places in its text
    for image in _images(model, device):
        try:
            with torch.no_grad():
                found = features(pixel_values=image).pooler_output
        except Exception:  # of a size that it does not take, or it needs more than a picture
            continue
        places = sum(math.prod(one.shape[:-1]) for one in ([found] if isinstance(found, Tensor) else found))
        text = torch.full((1, places + 2), token, device=device)
        text[:, 0] = text[:, -1] = 0
        yield {"input_ids": text, "pixel_values": image}


def _images(model: nn.Module, device: torch.device) -> Iterator[Tensor]:
    """Give the images that the picture half of a network of two halves takes."""
    conv = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    size = getattr(getattr(getattr(model, "config", None), "vision_config", None), "image_size", None)
    if conv is not None:
        for height, width in ([(size, size)] if isinstance(size, int) else []) + list(IMAGE_SIZES_PX):
            yield torch.zeros(1, conv.in_channels, height, width, device=device, dtype=conv.weight.dtype)
