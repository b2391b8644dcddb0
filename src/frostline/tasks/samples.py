"""Labelled samples and how they are split: class folders or arrays in, train, validation and test out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from frostline.errors import DataError
from frostline.tasks.pictures import SUFFIXES

FEWEST_CLASSES = 2


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Labelled samples: picture files, or an array of pictures that is already in memory.

    Attributes:
        source: where they come from, for messages.
        classes: names of the classes; a label is a place in it.
        labels: N, int64.
        paths: N picture files, or none where there are `pixels`.
        pixels: N × H × W grey pictures with values in 0 … 1, or None.
        ignored: number of files in the source that are no pictures.
    """

    source: str
    classes: tuple[str, ...]
    labels: np.ndarray
    paths: tuple[Path, ...] = ()
    pixels: np.ndarray | None = None
    ignored: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """Name one sample for a person."""
        return str(self.paths[index]) if self.paths else f"{self.source}[{index}]"

    def take(self, indices: np.ndarray) -> "Samples":
        """Give some of the samples, in that order."""
        return replace(
            self,
            labels=self.labels[indices],
            paths=tuple(self.paths[index] for index in indices) if self.paths else (),
            pixels=self.pixels[indices] if self.pixels is not None else None,
        )


@dataclass(frozen=True, kw_only=True)
class Split:
    """The samples by what they are for; `val` and `test` may be absent."""

    train: Samples
    val: Samples | None
    test: Samples | None


def read_class_folders(folder: Path, *, classes: Sequence[str] | None = None) -> Samples:
    """List the pictures of a folder that has one folder a class; pictures lie in it at any depth.

    Args:
        folder: its folders' names are the classes, sorted; hidden ones and files that are no pictures are passed over.
        classes: names that may be there, in the order of the labels (a test folder has the classes of the training
            folder, or some of them).

    Raises:
        DataError: the folder is missing, has no class folders, only one, an empty one, or other classes than asked.
    """
    asked = f"data {folder}"
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise DataError(asked, found=found, do="name a folder with one folder of pictures a class")
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        loose = any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())
        nothing = "no folders of pictures" if any(folder.iterdir()) else "it is empty"
        found = "pictures, but no folders of them" if loose else nothing
        raise DataError(asked, found=found, do="put the pictures of each class into a folder of its own")
    if classes is not None and set(names) - set(classes):
        strange = sorted(set(names) - set(classes))
        shown = ", ".join(strange[:5]) + (f", … ({len(strange)} in all)" if len(strange) > 5 else "")
        raise DataError(asked, found=f"classes that the training data does not have: {shown}", do="take them out")
    if classes is None and len(names) < FEWEST_CLASSES:
        raise DataError(asked, found=f"one class only ({names[0]})", do="give at least two class folders")
    known = list(classes or names)
    paths: list[Path] = []
    labels: list[int] = []
    ignored = 0
    for name in names:
        files = sorted(path for path in (folder / name).rglob("*") if path.is_file() and not _is_hidden(path, folder))
        pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
        ignored += len(files) - len(pictures)
        if not pictures:
            raise DataError(asked, found=f"class {name} has no pictures", do="add some, or take its folder away")
        paths += pictures
        labels += [known.index(name)] * len(pictures)
    return Samples(
        source=str(folder), classes=tuple(known), labels=np.asarray(labels), paths=tuple(paths), ignored=ignored
    )


def _is_hidden(path: Path, folder: Path) -> bool:
    """Whether a file, or a folder on the way to it, is hidden (thumbnails, notebook checkpoints)."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def split(
    samples: Samples,
    *,
    val: float | Samples | None,
    test: float | Samples | str | None,
    per_class: int | None = None,
    seed: int,
) -> Split:
    """Split by class with a seed: every class keeps its share in each part, and at least one sample for training.

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
    # Validation first: the same pictures validate, however many train.
    parts: dict[str, list[np.ndarray]] = {"val": [], "train": [], "test": []}
    for label, name in enumerate(samples.classes):
        mine = generator.permutation(np.flatnonzero(samples.labels == label))
        num_val, num_test = (_share(part, len(mine)) for part in (val, test))
        num_train = len(mine) - num_val - num_test if per_class is None else per_class
        if test == "rest":
            num_test = len(mine) - num_train - num_val
        wanted_rest = int(test == "rest")
        if num_train < 1 or num_test < wanted_rest or num_train + num_val + num_test > len(mine):
            needed = max(num_train, 1) + num_val + max(num_test, wanted_rest)
            have = "one picture" if len(mine) == 1 else f"{len(mine)} pictures"
            raise DataError(
                f"data {samples.source}",
                found=f"class {name} has {have}, and training, validation and test need {needed}",
                do="add pictures, or ask for fewer (`data.per_class`, `data.val`, `data.test`)",
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
