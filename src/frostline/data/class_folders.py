"""A folder with one folder of pictures a class."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from frostline.data.faults import Fault
from frostline.data.listing import Listing
from frostline.data.pictures import HEIF_SUFFIXES, SUFFIXES
from frostline.data.samples import FEWEST_CLASSES, Samples
from frostline.errors import DataError

# How people name the parts of their data, by the key of a recipe that takes each.
_PARTS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "dev"), "test": ("test", "testing")}


def read_class_folders(folder: Path, *, classes: Sequence[str] | None = None, follow_links: bool = False) -> Samples:
    """List the pictures of a folder that has one folder a class; pictures lie in it at any depth.

    Args:
        folder: its folders' names are the classes, sorted; hidden ones and files that are no pictures are passed over.
        classes: names that may be there, in the order of the labels (a test folder has the classes of the training
            folder, or some of them); one without pictures is then passed over with a note.
        follow_links: follow links that lead out of the folder; without that each is a fault of the samples.

    Raises:
        DataError: the folder is missing or cannot be read, has no class folders, only one, an empty one, parts of the
            data instead of classes, or other classes than asked.
    """
    asked = f"data {folder}"
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise DataError(
            asked,
            found=found,
            do="name a folder with one folder of pictures a class, or a .csv file of paths and labels",
        )
    names, loose = _inside(folder, asked)
    if classes is not None and set(names) - set(classes):
        strange = sorted(set(names) - set(classes))
        found = f"classes that the training data does not have: {', '.join(strange)}"
        raise DataError(asked, found=found, do="take them out")
    if classes is None and len(names) < FEWEST_CLASSES:
        raise DataError(asked, found=f"one class only ({names[0]})", do="give at least two class folders")
    if classes is None:
        _refuse_parts(folder, names, asked)
    known = list(classes or names)
    listing = Listing(folder, follow_links=follow_links)
    rows: list[tuple[Path, str, int]] = []
    empty: list[str] = []
    for name in names:
        faults_before, heif_before = len(listing.faults), len(listing.unread_heif)
        listed = listing.below(folder / name)
        rows += [(path, real, known.index(name)) for path, real in listed]
        if not listed:
            empty.append(name)
            if classes is None:
                raise _nothing_in(f"class {name}", listing, faults_before, heif_before)
    if not rows:
        raise _nothing_in("every class that is there", listing)
    rows = _once(rows, listing, known)
    return Samples(
        source=str(folder),
        classes=tuple(known),
        labels=np.asarray([label for _, _, label in rows], dtype=np.int64),
        paths=tuple(path for path, _, _ in rows),
        ignored=listing.ignored,
        faults=tuple(listing.faults),
        notes=(*listing.notes(), *_passed_over(folder, empty, loose)),
    )


def _inside(folder: Path, asked: str) -> tuple[list[str], int]:
    """Name the folders of pictures, sorted; and count the pictures beside them.

    Raises:
        DataError: there are none, or it may not be read.
    """
    try:
        inside = list(folder.iterdir())
        names = sorted(path.name for path in inside if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise DataError(asked, found=f"it cannot be read ({error.strerror})", do="give yourself the right to") from None
    folders = set(names)
    beside = [path for path in inside if path.name not in folders and not path.name.startswith(".")]
    loose = sum(path.suffix.lower() in SUFFIXES | HEIF_SUFFIXES for path in beside)
    if not names:
        nothing = "no folders of pictures" if inside else "it is empty"
        found = "pictures, but no folders of them" if loose else nothing
        raise DataError(asked, found=found, do="put the pictures of each class into a folder of its own")
    return names, loose


def _refuse_parts(folder: Path, names: list[str], asked: str) -> None:
    """Refuse `photos/train`, `photos/val` …: a network that learns to tell those apart is what nobody wants.

    Raises:
        DataError: all folders are named as parts of the data are.
    """
    part_of = {usual: part for part, usuals in _PARTS.items() for usual in usuals}
    if not all(name.casefold() in part_of for name in names):
        return
    # Of several folders for one part, the first: the words are an example of what to write.
    found = {part_of[name.casefold()]: name for name in reversed(names)}
    words = [f"`{part}: {folder / found[part]}`" for part in _PARTS if part in found]
    raise DataError(
        asked, found=f"its folders are parts, not classes: {', '.join(names)}", do=f"write {', '.join(words)}"
    )


def _nothing_in(what: str, listing: Listing, faults_before: int = 0, heif_before: int = 0) -> DataError:
    """Make the error for a class without pictures, from what was passed over since its folder was entered."""
    faults, unread = listing.faults[faults_before:], len(listing.unread_heif) - heif_before
    found, do = f"{what} has no pictures", "add some, or take its folder away"
    if unread:
        found, do = f"{found} that can be read: {unread} are HEIC", "install pillow-heif, or convert them"
    elif faults:
        found, do = f"{found} that can be reached", "mend what is listed, or take its folder away"
    return DataError(f"data {listing.root}", found=found, do=do, items=[str(one) for one in faults])


def _passed_over(folder: Path, empty: list[str], loose: int) -> Iterator[str]:
    if empty:
        yield f"class folders of {folder} without pictures were passed over: {', '.join(empty)}"
    if loose:
        were = "one picture" if loose == 1 else f"{loose:,} pictures"
        yield f"passed over: {were} in {folder} itself, in the folder of no class"


def _once(rows: list[tuple[Path, str, int]], listing: Listing, classes: list[str]) -> list[tuple[Path, str, int]]:
    """Keep each file once: where links show it in two classes, the class that it lies in has it."""
    owner: dict[str, tuple[Path, str, int]] = {}
    for row in rows:
        path, real, _ = row
        if real not in owner or listing.is_there(path, real):
            owner[real] = row
    for path, real, label in rows:
        kept, _, label_kept = owner[real]
        if label != label_kept:
            why = f"a link to {kept}, which is of class {classes[label_kept]}: one picture cannot be of two classes"
            listing.faults.append(Fault(str(path), why))
    return [row for row in rows if owner[row[1]] is row]
