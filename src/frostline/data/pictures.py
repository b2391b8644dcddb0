"""One picture file → the picture as a person would see it → the tensor that a network takes."""

import warnings
from contextlib import ExitStack
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from threading import Lock
from types import TracebackType

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError, features
from torch import Tensor

from frostline.backbones import InputSpec
from frostline.data.colours import as_seen
from frostline.errors import DataError

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".mpo", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
    | ({".avif"} if features.check("avif") else set())
    | ({".jp2"} if features.check("jpg_2000") else set())
)
HEIF_SUFFIXES = frozenset({".heic", ".heif"})
NEEDS_HEIF = "Pillow reads HEIC with the package pillow-heif: pip install pillow-heif"

# A reduced JPEG keeps this many times the size that is needed, so that the resize decides what the picture looks like.
# Measured against full size, a pixel then differs by 0.15 counts of 255 on average and 2 at most (at once the size by 1
# and 13), and 12 megapixels take a third of the time, 57 ms for 165.
_DRAFT_MARGIN = 3
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnusableError(Exception):
    """Why a picture cannot be used, in a few words; whoever asked for the picture says which one it was."""


def open_picture(source: Path | bytes, *, at_least_px: int | None = None) -> Image.Image:
    """Open a picture as a person would see it: upright, in sRGB, on white where it is transparent, the first page.

    Args:
        source: a picture file, or what one holds.
        at_least_px: a JPEG may come smaller, which is much faster, as long as both sides keep three times this many
            pixels; None: full size.

    Returns:
        A picture of mode `L` (grey pictures stay grey) or `RGB`.

    Raises:
        DataError: it is no picture, a damaged one, a decompression bomb, or one pixel wide or high.
    """
    try:
        return decode(source, at_least_px=at_least_px)
    except UnusableError as error:
        raise DataError(
            f"picture {_named(source)}", found=f"it cannot be read ({error})", do="mend it or take it out"
        ) from None


def read_picture(source: Path | bytes, spec: InputSpec) -> Tensor:
    """Read a picture, stretch it to the network's square with antialiasing, and normalise it.

    Args:
        source: a picture file, or what one holds.
        spec: size, channel order, mean and standard deviation.

    Returns:
        C × H × W, float32.

    Raises:
        DataError: as `open_picture`.
    """
    return fitted(open_picture(source, at_least_px=spec.size_px), spec)


def fitted(picture: Image.Image, spec: InputSpec) -> Tensor:
    """Stretch an open picture to the network's square with antialiasing, and normalise it.

    Args:
        picture: of mode `L` or `RGB`.
        spec: size, channel order, mean and standard deviation.

    Returns:
        C × H × W, float32.
    """
    seen = picture.convert("L") if spec.channels == "grey" else picture
    return to_input(np.asarray(seen.resize((spec.size_px, spec.size_px), Image.Resampling.BILINEAR)), spec)


def decode(source: Path | bytes, *, at_least_px: int | None = None, only_check: bool = False) -> Image.Image:
    """Do what `open_picture` does, with errors that do not name the picture.

    Args:
        source: a picture file, or what one holds.
        at_least_px: as in `open_picture`.
        only_check: the picture is not looked at: leave out what cannot fail, colours and the way up, and check sums.

    Raises:
        UnusableError: the picture cannot be used.
    """
    try:
        with QUIET, Image.open(_stream(source), formats=_formats()) as opened:
            if min(opened.size) < 2:
                raise UnusableError(f"{opened.width}×{opened.height} pixels: nothing to see")
            if at_least_px is not None:
                opened.draft(None, (at_least_px * _DRAFT_MARGIN, at_least_px * _DRAFT_MARGIN))
            opened.load()
            if only_check and opened.format == "PNG":
                _check_sums(source)
            if only_check and opened.mode in ("L", "RGB"):
                return opened
            turn = _UPRIGHT.get(_orientation(opened))
            seen = as_seen(opened)
            return seen if turn is None else seen.transpose(turn)
    except UnusableError:
        raise
    # Damaged files bring every kind of error out of the decoders: struct.error, IndexError, MemoryError …
    except Exception as error:
        raise UnusableError(_reason(error, source)) from error


def stretch(pixels: np.ndarray, size_px: int) -> np.ndarray:
    """Stretch a grey picture H × W, values in 0 … 1, to a square."""
    if pixels.shape == (size_px, size_px):
        return pixels
    return np.asarray(Image.fromarray(pixels.astype(np.float32)).resize((size_px, size_px), Image.Resampling.BILINEAR))


def to_input(pixels: np.ndarray, spec: InputSpec) -> Tensor:
    """Turn pixels into what the network takes.

    Args:
        pixels: H × W grey, or H × W × 3 in RGB order, in 0 … 1, or uint8 in 0 … 255; grey ones are repeated where the
            network takes three channels.
        spec: channel order, mean and standard deviation.

    Returns:
        C × H × W, float32.
    """
    pixels_HWC = pixels[:, :, None] if pixels.ndim == 2 else pixels
    pixels_HWC = np.broadcast_to(pixels_HWC, (*pixels_HWC.shape[:2], spec.num_channels))
    if spec.channels == "bgr":
        pixels_HWC = pixels_HWC[:, :, ::-1]
    mean_C, std_C = (
        np.broadcast_to(np.asarray(values, np.float32), spec.num_channels) for values in (spec.mean, spec.std)
    )
    image_CHW = np.empty((spec.num_channels, *pixels_HWC.shape[:2]), dtype=np.float32)
    # Plane by plane and in place: five times as fast as all at once, and the same bits.
    for channel, plane_HW in enumerate(image_CHW):
        plane_HW[...] = pixels_HWC[:, :, channel]
        if pixels.dtype == np.uint8:
            plane_HW /= np.float32(255)
        plane_HW -= mean_C[channel]
        plane_HW /= std_C[channel]
    return torch.from_numpy(image_CHW)


def readable_suffixes() -> frozenset[str]:
    """Give the suffixes of picture files that can be read here: with HEIC where pillow-heif is installed."""
    return SUFFIXES | HEIF_SUFFIXES if "HEIF" in _formats() else SUFFIXES


class _Quiet:
    """Keeps Pillow's warnings from the user while pictures are read, by any number of threads.

    What Pillow warns of (a large picture, a damaged EXIF block) is no news for a person who trains, and must not end a
    run under `-W error`. `warnings.catch_warnings` alone leaves wrong filters behind where threads overlap.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._caught = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._caught.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._inside += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._caught.close()


QUIET = _Quiet()


@cache
def _formats() -> tuple[str, ...]:
    """Name the formats that may be read: never those for which Pillow runs another program (EPS)."""
    if find_spec("pillow_heif") is not None:
        import_module("pillow_heif").register_heif_opener()
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _check_sums(source: Path | bytes) -> None:
    """Compare the checksums of a PNG: Pillow leaves those of the pixels out, and gives noise for damaged ones.

    Raises:
        SyntaxError: the file was damaged.
    """
    with Image.open(_stream(source), formats=("PNG",)) as opened:
        opened.verify()


def _stream(source: Path | bytes) -> Path | BytesIO:
    return BytesIO(source) if isinstance(source, bytes) else source


def _orientation(picture: Image.Image) -> int:
    """Say which way up a picture was taken, 1 … 8; a damaged note of it counts as none."""
    # A JPEG without these has none, and asking Pillow takes as long as a small picture.
    if picture.format == "JPEG" and not {"exif", "xmp"} & picture.info.keys():
        return 1
    try:
        return int(picture.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        return 1


def _reason(error: Exception, source: Path | bytes) -> str:
    if isinstance(error, UnidentifiedImageError):
        return _strange(source)
    if isinstance(error, Image.DecompressionBombError):
        return f"a decompression bomb: more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    said = " ".join(str(error).split())[:120] or type(error).__name__
    return said if isinstance(error, OSError | SyntaxError | ValueError) else f"{type(error).__name__}: {said}"


def _strange(source: Path | bytes) -> str:
    """Say what is wrong with what Pillow finds no kind of picture in."""
    if isinstance(source, bytes):
        start = source[:12]
    else:
        with source.open("rb") as file:
            start = file.read(12)
    if not start:
        return "empty: zero bytes"
    if start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS:
        return NEEDS_HEIF
    return "no kind of picture is like it"


def _named(source: Path | bytes) -> str:
    return f"of {len(source):,} bytes" if isinstance(source, bytes) else str(source)
