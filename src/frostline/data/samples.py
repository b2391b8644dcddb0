"""Labelled samples and how they are split: train, validation and test out of what was read."""

import hashlib
import os
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from frostline.data.faults import Fault, counted
from frostline.data.pictures import open_picture
from frostline.data.stored import StoredPictures
from frostline.data.texts import Texts
from frostline.errors import DataError

END_BYTES = 4096
# To tell apart.
FEWEST_CLASSES = 2


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Labelled samples: picture files, rows of a data set on disk, an array of pictures in memory, or texts.

    Attributes:
        source: where they come from, for messages.
        classes: names of the classes; a label is a place in it. None where samples have no labels: all are 0 then.
        labels: N, int64.
        paths: N picture files, or none where the samples are something else.
        pixels: N × H × W grey pictures with values in 0 … 1, or None.
        stored: N rows of a data set with pictures, or None.
        texts: N texts, or None.
        ignored: number of files in the source that are no pictures.
        faults: samples of the source that could not be listed, such as links out of it; they are no samples.
        notes: what a person should be told about the source.
    """

    source: str
    classes: tuple[str, ...]
    labels: np.ndarray
    paths: tuple[Path, ...] = ()
    pixels: np.ndarray | None = None
    stored: StoredPictures | None = None
    texts: Texts | None = None
    ignored: int = 0
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def what(self) -> str:
        """What a sample is called: `picture` or `text`."""
        return "picture" if self.texts is None else "text"

    def name(self, index: int) -> str:
        """Name one sample for a person: its file, or its place in the source."""
        if self.texts is not None:
            return self.texts.name(index, self.source)
        if self.paths:
            return str(self.paths[index])
        return f"{self.source}[{index if self.stored is None else self.stored.rows[index]}]"

    def __getstate__(self) -> dict[str, Any]:
        """Keep what the samples are, and nothing that was derived of it: known by this they stay, whoever asked."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def digest(self) -> str:
        """A digest of which samples these are: names, labels, texts, and of pictures their size and both ends."""
        every = hashlib.sha256(self.labels.tobytes())
        if self.pixels is not None:
            every.update(np.ascontiguousarray(self.pixels).tobytes())
        for text in () if self.texts is None else self.texts.content:
            every.update(hashlib.sha256(text.encode(errors="surrogatepass")).digest())
        for index in range(len(self)):
            every.update(self.name(index).encode(errors="surrogateescape"))
        for ends in self.ends:
            every.update(ends)
        return every.hexdigest()

    @cached_property
    def ends(self) -> tuple[bytes, ...]:
        """A digest of each text but for spaces, or of how each picture begins and ends and its size; none of pixels."""
        if self.pixels is not None:
            return ()
        if self.texts is not None:
            return tuple(map(_of_text, self.texts.content))
        return tuple(hashlib.sha256(_ends(self.picture(index))).digest() for index in range(len(self)))

    def whole(self, index: int) -> bytes:
        """Give a digest of all of a text or an encoded picture."""
        if self.texts is not None:
            return _of_text(self.texts.content[index])
        picture = self.picture(index)
        try:
            return hashlib.sha256(picture if isinstance(picture, bytes) else picture.read_bytes()).digest()
        except OSError:  # it is gone, and is like no other
            return self.name(index).encode(errors="surrogateescape")

    def picture(self, index: int) -> Path | bytes:
        """Give one encoded picture: its file, or what one would hold.

        Raises:
            ValueError: the samples are pixels in memory, which nobody encoded, or texts.
        """
        if self.stored is not None:
            return self.stored.picture(index)
        if self.pixels is not None or self.texts is not None:
            raise ValueError(f"{self.source} holds no encoded pictures")
        return self.paths[index]

    def open(self, index: int, *, at_least_px: int | None = None) -> Image.Image:
        """Open one picture as a person would see it.

        Args:
            index: its place.
            at_least_px: as in `open_picture`.

        Returns:
            A picture of mode `L` or `RGB`.

        Raises:
            DataError: it cannot be used; the error names it.
        """
        if self.pixels is not None:
            return Image.fromarray(np.rint(self.pixels[index] * 255).astype(np.uint8))
        try:
            return open_picture(self.picture(index), at_least_px=at_least_px)
        except DataError as error:
            raise DataError(f"picture {self.name(index)}", found=error.found, do=error.do) from None

    def take(self, indices: np.ndarray) -> "Samples":
        """Give some of the samples, in that order."""
        return replace(
            self,
            labels=self.labels[indices],
            paths=tuple(self.paths[index] for index in indices) if self.paths else (),
            pixels=self.pixels[indices] if self.pixels is not None else None,
            stored=self.stored.take(indices) if self.stored is not None else None,
            texts=self.texts.take(indices) if self.texts is not None else None,
        )


def _of_text(text: str) -> bytes:
    return hashlib.sha256(" ".join(text.split()).encode(errors="surrogatepass")).digest()


def _ends(picture: Path | bytes) -> bytes:
    """Give how an encoded picture begins and ends, and its size; nothing of a file that is gone."""
    if isinstance(picture, bytes):
        return picture[:END_BYTES] + picture[-END_BYTES:] + len(picture).to_bytes(8, "little")
    try:
        with picture.open("rb") as file:
            begins, size = file.read(END_BYTES), os.fstat(file.fileno()).st_size
            file.seek(max(0, size - END_BYTES))
            return begins + file.read(END_BYTES) + size.to_bytes(8, "little")
    except OSError:
        return b""


@dataclass(frozen=True, kw_only=True)
class Split:
    """The samples by what they are for; `val` and `test` may be absent."""

    train: Samples
    val: Samples | None
    test: Samples | None

    def by_name(self) -> dict[str, Samples]:
        """Give the parts that are there, by name."""
        every = {"train": self.train, "val": self.val, "test": self.test}
        return {part: samples for part, samples in every.items() if samples is not None}


def split(
    samples: Samples,
    *,
    val: float | Samples | None,
    test: float | Samples | str | None,
    per_class: int | None = None,
    seed: int,
) -> Split:
    """Split by class with a seed: every class keeps its share in each part, and at least one sample for training.

    Samples without classes are split as those of one.

    Args:
        samples: all there is to split.
        val: share of each class for validation, samples of their own, or None.
        test: likewise; or `rest`: what `per_class` and `val` leave.
        per_class: number of training samples of each class; None: all that is left.
        seed: the same seed gives the same split.

    Raises:
        DataError: a class has too few samples for what was asked.
    """
    generator = np.random.default_rng(seed)
    # Validation first: the same samples validate, however many train.
    parts: dict[str, list[np.ndarray]] = {"val": [], "train": [], "test": []}
    for label, name in enumerate(samples.classes or (None,)):
        mine = generator.permutation(np.flatnonzero(samples.labels == label))
        num_val, num_test = (_share(part, len(mine)) for part in (val, test))
        num_train = len(mine) - num_val - num_test if per_class is None else per_class
        if test == "rest":
            num_test = len(mine) - num_train - num_val
        wanted_rest = int(test == "rest")
        if num_train < 1 or num_test < wanted_rest or num_train + num_val + num_test > len(mine):
            needed = max(num_train, 1) + num_val + max(num_test, wanted_rest)
            have = f"{'there is' if len(mine) == 1 else 'there are'} {counted(len(mine), samples.what)}"
            if name is not None:
                have = f"class {name} has {counted(len(mine), samples.what)}"
            raise DataError(
                f"data {samples.source}",
                found=f"{have}, and training, validation and test need {needed}",
                do=f"add {samples.what}s, or ask for fewer (`data.per_class`, `data.val`, `data.test`)",
            )
        cuts = np.cumsum([num_val, num_train, num_test])
        for part, indices in zip(parts, np.split(mine, cuts)[:3], strict=True):
            parts[part].append(indices)
    taken = {part: np.sort(np.concatenate(indices)) for part, indices in parts.items()}
    return Split(
        train=samples.take(taken["train"]),
        val=val if isinstance(val, Samples) else samples.take(taken["val"]) if len(taken["val"]) else None,
        test=test if isinstance(test, Samples) else samples.take(taken["test"]) if len(taken["test"]) else None,
    )


def _share(part: float | Samples | str | None, count: int) -> int:
    """Number of samples of one class that a share asks for: rounded, and at least one."""
    return max(1, round(part * count)) if isinstance(part, float) and part > 0 else 0
