"""The colours of a picture as a person would see them: 8 bits a channel, sRGB, on white, whatever the file holds."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, features

# A profile that moves no colour by more than this many counts of 255 is sRGB by another name.
_SAME_COUNTS = 2
_BITS_TAG, _PHOTOMETRIC_TAG, _MAX_SAMPLE_TAG = 258, 262, 281
_WHITE_IS_ZERO = 0
_SIXTEEN_BITS = 65535

Recolour = Callable[[Image.Image], Image.Image]


def as_seen(picture: Image.Image) -> Image.Image:
    """Give a decoded picture of any mode the colours that a person would see.

    Args:
        picture: decoded, with what its file says about colours in `info`.

    Returns:
        A picture of the same size, mode `L` or `RGB`.

    Raises:
        ValueError: its values have no known range.
    """
    profile: bytes | None = picture.info.get("icc_profile")
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        picture = _eight_bits(picture)
    alpha = None
    if picture.has_transparency_data:
        picture = picture.convert("LA" if picture.mode in ("1", "L", "LA", "La") else "RGBA")
        alpha = picture.getchannel("A")
        picture = picture.convert("L" if picture.mode == "LA" else "RGB")
    if picture.mode not in ("L", "RGB", "CMYK"):
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    recolour = _recolour(profile, picture.mode) if profile else None
    if recolour is not None:
        picture = recolour(picture)
    elif picture.mode == "CMYK":
        picture = picture.convert("RGB")
    return picture if alpha is None else _on_white(picture, alpha)


def _on_white(picture: Image.Image, alpha: Image.Image) -> Image.Image:
    if alpha.getextrema() == (255, 255):
        return picture
    white = Image.new(picture.mode, picture.size, "white")
    white.paste(picture, mask=alpha)
    return white


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Bring deep grey to 8 bits, where Pillow's `convert` turns all above 255 white.

    Raises:
        ValueError: its values have no known range.
    """
    tags = getattr(picture, "tag_v2", {})
    values = np.asarray(picture)
    if picture.mode == "F" and values.size and 0 <= values.min() <= values.max() <= 1:
        grey = np.rint(values * 255).astype(np.uint8)
    elif picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM")):
        grey = np.minimum(values >> (_bits(tags) - 8), 255).astype(np.uint8)
    else:
        raise ValueError(f"its values have 32 bits and no known range, mode {picture.mode}")
    if tags.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO:
        grey = 255 - grey
    eight = Image.fromarray(grey)
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        eight.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return eight


def _bits(tags: Mapping[int, Any]) -> int:
    """Say how many bits deep grey fills.

    Of 12 bits Pillow gives the values as they are; the 10, 12 or 14 bits of a camera may lie in 16, and MaxSampleValue
    says so. One that is no full number of bits is the brightest pixel of this very picture; to stretch by it would make
    every picture as bright as the next.
    """
    depth, top = tags.get(_BITS_TAG), tags.get(_MAX_SAMPLE_TAG)
    if depth == (12,):
        return 12
    top = top[0] if isinstance(top, tuple) and top else top
    if isinstance(top, int) and 255 <= top < _SIXTEEN_BITS and top & (top + 1) == 0:
        return top.bit_length()
    return 16


@lru_cache(maxsize=16)
def _recolour(profile: bytes, mode: str) -> Recolour | None:
    """Make what turns the colours of a profile into sRGB; None: they are that, or the profile is of no use.

    Args:
        profile: an ICC profile.
        mode: of the pictures, `L`, `RGB` or `CMYK`.
    """
    if not features.check("littlecms2"):
        return None
    from PIL import ImageCms

    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            # Of grey, 256 values are computed once; optimised, the darkest come out half as bright as they are.
            flags=ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE,
        )
        if mode == "L":
            greys = Image.frombytes("L", (256, 1), bytes(range(256)))
            seen = _applied(transform, greys).getchannel("G")
            return None if _same(seen, greys) else lambda picture: picture.point(list(seen.tobytes()))
        if mode == "RGB":
            colours = Image.fromarray(np.indices((6, 6, 6), dtype=np.uint8).reshape(3, 1, 216).transpose(1, 2, 0) * 51)
            if _same(_applied(transform, colours), colours):
                return None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None  # as every viewer does with a profile that is broken, or of another kind of picture
    return lambda picture: _applied(transform, picture)


def _applied(transform: object, picture: Image.Image) -> Image.Image:
    from PIL import ImageCms

    recoloured = ImageCms.applyTransform(picture, transform)  # type: ignore[arg-type]
    assert recoloured is not None  # it is None only where the picture is changed in place
    return recoloured


def _same(seen: Image.Image, stored: Image.Image) -> bool:
    return bool(np.abs(np.asarray(seen, np.int16) - np.asarray(stored, np.int16)).max() <= _SAME_COUNTS)
