"""What an image processor of Hugging Face does to a picture, measured: it is given plain pictures and watched.

Its settings have many words (size, crop, rescaling with and without an offset, a second normalisation, flipped
channels), and each family has its own; what comes out for black, white and red says all of them.
"""

from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from frostline.backbones.network import InputSpec

# Larger than what networks take, so that a processor that only makes pictures smaller does so.
PICTURE_PX = 640
DIGITS = 6


def measured(processor: Any, *, num_channels: int = 3) -> InputSpec | None:
    """Find size, mean, deviation and order of channels of what a processor gives.

    Args:
        processor: called with a picture, it gives `pixel_values`.
        num_channels: of the network: 3, or 1 for grey.

    Returns:
        The input, or nothing where the processor gives no square of so many channels, or does not make white lighter
        than black.
    """
    black, white, red = (_values(processor, colour) for colour in ((0, 0, 0), (255, 255, 255), (255, 0, 0)))
    if black is None or white is None or red is None or black.shape != white.shape or len(black) < num_channels:
        return None
    middle = black.shape[-1] // 2  # some pad what is too small for their crop
    low_C, high_C, red_C = (values[:, middle, middle].double() for values in (black, white, red))
    if not bool((high_C > low_C).all()):
        return None
    std_C = 1 / (high_C - low_C)
    mean_C = -low_C * std_C
    reddest = int(((red_C - low_C) * std_C).argmax())
    return InputSpec(
        size_px=black.shape[-1],
        mean=tuple(round(value, DIGITS) for value in mean_C.tolist())[:num_channels],
        std=tuple(round(value, DIGITS) for value in std_C.tolist())[:num_channels],
        channels="grey" if num_channels == 1 else "bgr" if reddest == 2 else "rgb",
    )


def _values(processor: Any, colour: tuple[int, int, int]) -> Tensor | None:
    """Process a picture of one colour: C × S × S, or nothing where that is no square."""
    picture = Image.fromarray(np.full((PICTURE_PX, PICTURE_PX, 3), colour, dtype=np.uint8))
    values: Tensor = processor(images=picture, return_tensors="pt")["pixel_values"]
    return values[0] if values.ndim == 4 and values.shape[-1] == values.shape[-2] else None
