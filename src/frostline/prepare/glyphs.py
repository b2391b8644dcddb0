"""Glyphs of matplotlib's fonts, distorted like handwriting and reduced to 8 x 8 counts as the UCI digits are."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

# Each box is stretched to full height, so a small letter shaped like its capital is left out, and so are I and O.
CHARACTERS = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZabdefghnqrt"
DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FONT_SIZE = 112
MASTER_SIDE = 64
MASTER_MARGIN = 10
CANVAS_SIDE = 72
BITMAP_SIDE = 32
BLOCK_SIDE = 4
WAVES = 6
BEND = 8.0


@dataclass(frozen=True)
class Glyphs:
    """Rendered glyphs and what each of them shows.

    Args:
        images: uint8 (N, 8, 8), how many of the 16 pixels of a 4 x 4 block are on, 0..16.
        labels: int64 (N,), positions in `classes`.
        classes: The character of each label.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


def find_sources(*, characters: str) -> dict[str, list[tuple[Path, str]]]:
    """Find which glyphs of matplotlib's fonts draw each character.

    A code point counts when it is the character or its styled form (Unicode's `<font>` variants: bold, script,
    Fraktur, ...). Computer Modern's symbol fonts map letters and digits to other shapes, and the font of last resort
    maps them to boxes; the glyph's own name gives both away.

    Args:
        characters: Letters and digits, ASCII.

    Returns:
        For each character the font files and the code points (as strings of length 1) that draw it.

    Raises:
        ValueError: No font draws one of the characters.
    """
    sources: dict[str, list[tuple[Path, str]]] = {character: [] for character in characters}
    for path in sorted((Path(matplotlib.get_data_path()) / "fonts" / "ttf").glob("*.ttf")):
        font = FT2Font(str(path))
        if font.family_name.startswith("Last Resort"):
            continue
        for code, index in sorted(font.get_charmap().items()):
            styled = unicodedata.decomposition(chr(code)).startswith("<font>")
            character = unicodedata.normalize("NFKC", chr(code)) if styled else chr(code)
            if character not in sources:
                continue
            name = font.get_glyph_name(index).removesuffix("oldstyle")
            if styled or name == (DIGIT_NAMES[int(character)] if character.isdigit() else character):
                sources[character].append((path, chr(code)))
    missing = [character for character, found in sources.items() if not found]
    if missing:
        raise ValueError(f"no font draws {''.join(missing)!r}")
    return sources


def render_master(*, font_path: Path, text: str) -> NDArray[np.float32]:
    """Draw one glyph undistorted, as a signed distance to its outline.

    Args:
        font_path: The font's file.
        text: The character to draw.

    Returns:
        float32 (84, 84), pixels to the outline, positive inside; the glyph's longer side spans the inner 64 pixels.
    """
    font = ImageFont.truetype(str(font_path), FONT_SIZE)
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(image).text((-left, -top), text, fill=255, font=font)
    scale = MASTER_SIDE / max(image.size)
    fitted = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.resize(fitted, Image.Resampling.LANCZOS)
    side = MASTER_SIDE + 2 * MASTER_MARGIN
    padded = Image.new("L", (side, side))
    padded.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    inside = np.asarray(padded) > 127
    distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    return np.asarray(distance, dtype=np.float32)


def distort(*, master: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float64]:
    """Bend a glyph as another hand would draw it.

    Args:
        master: float32 (S, S), signed distance to the outline in pixels.
        rng: Where the distortion is drawn from.

    Returns:
        float64 (72, 72), about the signed distance to the bent outline in pixels.
    """
    angle, shear, stretch = rng.normal(0.0, 0.14), rng.normal(0.1, 0.2), np.exp(rng.normal(0.0, 0.15))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    affine = 1.5 * turn @ np.array([[stretch, 0.0], [shear, 1.0 / stretch]])
    axis = np.arange(CANVAS_SIDE) - (CANVAS_SIDE - 1) / 2
    points = np.einsum("ij,jyx->iyx", affine, np.stack(np.meshgrid(axis, axis, indexing="ij")))
    frequencies = np.arange(WAVES)
    waves = np.cos(np.pi * np.outer(np.arange(CANVAS_SIDE) + 0.5, frequencies) / CANVAS_SIDE)
    strengths = BEND / (1.0 + frequencies[:, None] ** 2 + frequencies**2)
    points += waves @ (rng.normal(size=(2, WAVES, WAVES)) * strengths) @ waves.T
    points += (master.shape[0] - 1) / 2
    return np.asarray(ndimage.map_coordinates(master, points, order=1, mode="nearest"), dtype=np.float64)


def crop(*, values: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """Crop to the box of what exceeds a level, or keep everything where nothing does."""
    rows, columns = (np.flatnonzero((values > level).any(axis=axis)) for axis in (1, 0))
    return values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else values


def count_blocks(*, distance: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a glyph with a pen of some width, fit its box into 32 x 32 at full height and count the 4 x 4 blocks.

    Args:
        distance: float64 (H, W), signed distance to the outline in pixels.
        rng: Where the pen, the box's aspect and its position are drawn from.

    Returns:
        uint8 (8, 8), counts 0..16.
    """
    box = crop(values=distance, level=0.0)
    widen, widest, ink = np.exp(rng.normal(0.05, 0.15)), rng.integers(20, 30), rng.normal(0.33, 0.05)
    width = int(np.clip(round(BITMAP_SIDE * widen * box.shape[1] / box.shape[0]), 4, widest))
    # The UCI digits differ little in how much of the bitmap is ink, so the pen is what gives the ink wanted.
    level = float(np.quantile(box, 1.0 - np.clip(ink * BITMAP_SIDE / width, 0.05, 0.85)))
    level = float(np.clip(level, -5.0, 0.6 * box.max()))
    box = crop(values=distance, level=level)
    width = int(np.clip(round(BITMAP_SIDE * widen * box.shape[1] / box.shape[0]), 4, widest))
    left = int(np.clip(round((BITMAP_SIDE - width) / 2 + rng.normal(0.0, 1.5)), 0, BITMAP_SIDE - width))
    from_row = ((np.arange(BITMAP_SIDE) + 0.5) * box.shape[0] / BITMAP_SIDE).astype(int)
    from_column = ((np.arange(width) + 0.5) * box.shape[1] / width).astype(int)
    bitmap = np.zeros((BITMAP_SIDE, BITMAP_SIDE), dtype=np.uint8)
    bitmap[:, left : left + width] = box[np.ix_(from_row, from_column)] > level
    blocks = bitmap.reshape(BITMAP_SIDE // BLOCK_SIDE, BLOCK_SIDE, -1, BLOCK_SIDE)
    return np.asarray(blocks.sum(axis=(1, 3)), dtype=np.uint8)


def render_glyphs(*, per_class: int, seed: int, characters: str = CHARACTERS) -> Glyphs:
    """Render every character many times, each time in a random font and by another hand.

    Args:
        per_class: How many glyphs of each character.
        seed: Of everything random; equal seeds give equal glyphs.
        characters: Letters and digits, ASCII, each once.

    Returns:
        The glyphs, sorted by class.

    Raises:
        ValueError: `per_class` is not positive, no character is asked, one comes twice, or no font draws one.
    """
    if per_class < 1 or not characters or len(set(characters)) != len(characters):
        raise ValueError(f"wanted some of each of some distinct characters, got {per_class} of each of {characters!r}")
    rng = np.random.default_rng(seed)
    images: list[NDArray[np.uint8]] = []
    for found in find_sources(characters=characters).values():
        masters = [render_master(font_path=path, text=text) for path, text in found]
        picks = rng.integers(len(masters), size=per_class)
        images += [count_blocks(distance=distort(master=masters[pick], rng=rng), rng=rng) for pick in picks]
    labels = np.repeat(np.arange(len(characters), dtype=np.int64), per_class)
    return Glyphs(images=np.stack(images), labels=labels, classes=tuple(characters))
