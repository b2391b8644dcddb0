"""One picture file → the tensor that a network takes."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from frostline.backbones import InputSpec
from frostline.errors import DataError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
SHOWN = 5
_UNREADABLE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def read_picture(path: Path, spec: InputSpec) -> Tensor:
    """Read a picture, stretch it to the network's square with antialiasing, and normalise it.

    Args:
        path: a picture file.
        spec: size, channel order, mean and standard deviation.

    Returns:
        C × H × W, float32.

    Raises:
        DataError: the file is no picture, or a damaged one.
    """
    try:
        with Image.open(path) as opened:
            picture = _eight_bit(opened).convert("L" if spec.channels == "grey" else "RGB")
            picture = picture.resize((spec.size_px, spec.size_px), Image.Resampling.BILINEAR)
    except _UNREADABLE as error:
        raise DataError(
            f"picture {path}", found=f"it cannot be read ({_reason(error)})", do="mend it or take it out"
        ) from None
    return to_input(np.asarray(picture, dtype=np.float32) / 255.0, spec)


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Bring a picture to 8 bits a channel where Pillow's `convert` would not: it turns all above 255 white.

    Raises:
        ValueError: its values have no known range.
    """
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM")):
        return Image.fromarray((np.asarray(picture) // 256).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ValueError(f"its values have 32 bits and no known range, mode {picture.mode}")
    # Pillow warns of a palette with degrees of transparency; the way over RGBA gives the same colours.
    return picture.convert("RGBA") if picture.mode == "P" and "transparency" in picture.info else picture


def check_pictures(paths: Sequence[Path]) -> None:
    """Read every picture once, small where its format allows that, so that no damaged one ends a training.

    Raises:
        DataError: some cannot be read; the first few are named, all counted.
    """
    with ThreadPoolExecutor() as pool:
        damaged = [fault for fault in pool.map(_fault, paths) if fault is not None]
    if damaged:
        more = f" … ({len(damaged)} in all)" if len(damaged) > SHOWN else ""
        raise DataError("pictures", found="; ".join(damaged[:SHOWN]) + more, do="mend them or take them out")


def _fault(path: Path) -> str | None:
    try:
        with Image.open(path) as opened:
            opened.draft("RGB", (opened.width // 8, opened.height // 8))
            _eight_bit(opened).load()
    except _UNREADABLE as error:
        return f"{path} cannot be read ({_reason(error)})"
    return None


def _reason(error: Exception) -> str:
    return "no kind of picture is like it" if isinstance(error, UnidentifiedImageError) else str(error)[:120]


def stretch(pixels: np.ndarray, size_px: int) -> np.ndarray:
    """Stretch a grey picture H × W, values in 0 … 1, to a square."""
    if pixels.shape == (size_px, size_px):
        return pixels
    return np.asarray(Image.fromarray(pixels.astype(np.float32)).resize((size_px, size_px), Image.Resampling.BILINEAR))


def to_input(pixels: np.ndarray, spec: InputSpec) -> Tensor:
    """Turn pixels in 0 … 1 into what the network takes.

    Args:
        pixels: H × W grey, or H × W × 3 in RGB order; grey ones are repeated where the network takes three channels.
        spec: channel order, mean and standard deviation.

    Returns:
        C × H × W, float32.
    """
    pixels_HWC = pixels[:, :, None] if pixels.ndim == 2 else pixels
    pixels_HWC = np.broadcast_to(pixels_HWC, (*pixels_HWC.shape[:2], spec.num_channels))
    if spec.channels == "bgr":
        pixels_HWC = pixels_HWC[:, :, ::-1]
    normalised_HWC = (pixels_HWC - np.asarray(spec.mean, dtype=np.float32)) / np.asarray(spec.std, dtype=np.float32)
    return torch.from_numpy(np.ascontiguousarray(normalised_HWC.transpose(2, 0, 1), dtype=np.float32))
