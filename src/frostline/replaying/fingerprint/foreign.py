"""Arrays, pictures and data sets of libraries that need not be there: opened only where somebody else loaded them."""

import hashlib
import sys
from typing import Any

from frostline.replaying.fingerprint.node import Node


def open_foreign(thing: object) -> Node | None:
    """Open an object of numpy, Pillow or Hugging Face `datasets`; None for anything else."""
    if _is(thing, "numpy", "ndarray"):
        return _open_array(thing)
    if _is(thing, "numpy", "generic"):
        return Node(f"numpy {thing.dtype} {thing.tobytes().hex()}", _text_of(thing))  # type: ignore[attr-defined]
    if _is(thing, "PIL.Image", "Image"):
        return _open_picture(thing)
    if _is(thing, "datasets.arrow_dataset", "Dataset"):
        # Their text stands for the rows and all that was done to them; a transform set later is in the format.
        form = thing.format  # type: ignore[attr-defined]
        return Node(f"datasets {thing._fingerprint}", [("format", form)], stated=True)  # type: ignore[attr-defined]
    return None


def _is(thing: object, module: str, name: str) -> bool:
    """Say whether a thing is of a class whose module may not be loaded; then nothing is of it."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(thing, kind)


def _text_of(scalar: Any) -> list[tuple[object, object]]:
    """Give the text of a numpy text: it may name a file."""
    return [("", str(scalar))] if isinstance(scalar, str) else []


def _open_array(array: Any) -> Node:
    """Open an array: texts and objects one by one, all else by its bytes."""
    kind = f"numpy {type(array).__qualname__} {array.dtype.str} {array.dtype} {array.shape}"
    if _is(array, "numpy.ma", "MaskedArray"):
        mask = sys.modules["numpy.ma"].getmaskarray(array)
        return Node(kind, [("data", array.data), ("mask", mask), ("fill_value", array.fill_value)])
    # A mapped array holds its map and file beside the values, which alone count.
    extra = [] if _is(array, "numpy", "memmap") else sorted(getattr(array, "__dict__", {}).items())
    if array.dtype.hasobject or array.dtype.kind in "UT":
        return Node(kind, [("", array.tolist()), *extra])
    return Node(kind, extra, values=lambda: _bytes_digest(array))


def _bytes_digest(array: Any) -> str:
    """Digest the values of an array, row by row where they do not lie together: it may be larger than the memory."""
    sha = hashlib.sha256()
    numpy = sys.modules["numpy"]
    plain = array.view(numpy.ndarray)
    if plain.size and plain.flags.c_contiguous:
        sha.update(plain.reshape(-1).view(numpy.uint8))
    elif plain.size:
        for row in plain:
            sha.update(row.tobytes())
    return sha.hexdigest()


def _open_picture(picture: Any) -> Node:
    """Open a picture: what it shows, and the notes that opening it found."""
    return Node(f"picture {picture.mode} {picture.size}", [("info", picture.info)], values=lambda: _shown(picture))


def _shown(picture: Any) -> str:
    """Digest the pixels of a picture, and the colours that they stand for."""
    pixels = hashlib.sha256(picture.tobytes()).hexdigest()
    return f"{pixels} {picture.getpalette('RGBA') if picture.mode in ('P', 'PA') else ''}"
