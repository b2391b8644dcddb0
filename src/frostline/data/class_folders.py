"""A folder with one folder of pictures a class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from frostline.data.faults import Fault
from frostline.data.listing import Listing
from frostline.data.pictures import HEIF_SUFFIXES, SUFFIXES
from frostline.data.samples import Samples
from frostline.errors import DataError

FEWEST_CLASSES = 2


def read_class_folders(folder: Path, *, classes: Sequence[str] | None = None, follow_links: bool = False) -> Samples:
    """List the pictures of a folder that has one folder a class; pictures lie in it at any depth.

    Args:
        folder: its folders' names are the classes, sorted; hidden ones and files that are no pictures are passed over.
        classes: names that may be there, in the order of the labels (a test folder has the classes of the training
            folder, or some of them).
        follow_links: follow links that lead out of the folder; without that each is a fault of the samples.

    Raises:
        DataError: the folder is missing, has no class folders, only one, an empty one, or other classes than asked.
    """
    asked = f"data {folder}"
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise DataError(asked, found=found, do="name a folder with one folder of pictures a class")
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        loose = any(path.suffix.lower() in SUFFIXES | HEIF_SUFFIXES for path in folder.iterdir())
        nothing = "no folders of pictures" if any(folder.iterdir()) else "it is empty"
        found = "pictures, but no folders of them" if loose else nothing
        raise DataError(asked, found=found, do="put the pictures of each class into a folder of its own")
    if classes is not None and set(names) - set(classes):
        strange = sorted(set(names) - set(classes))
        found = f"classes that the training data does not have: {', '.join(strange)}"
        raise DataError(asked, found=found, do="take them out")
    if classes is None and len(names) < FEWEST_CLASSES:
        raise DataError(asked, found=f"one class only ({names[0]})", do="give at least two class folders")
    known = list(classes or names)
    listing = Listing(folder, follow_links=follow_links)
    rows: list[tuple[Path, str, int]] = []
    for name in names:
        listed = _pictures_of(name, listing)
        rows += [(path, real, known.index(name)) for path, real in listed]
    rows = _once(rows, listing, known)
    return Samples(
        source=str(folder),
        classes=tuple(known),
        labels=np.asarray([label for _, _, label in rows], dtype=np.int64),
        paths=tuple(path for path, _, _ in rows),
        ignored=listing.ignored,
        faults=tuple(listing.faults),
        notes=listing.notes(),
    )


def _pictures_of(name: str, listing: Listing) -> list[tuple[Path, str]]:
    """List one class.

    Raises:
        DataError: it has no pictures.
    """
    faults_before, heif_before = len(listing.faults), listing.unread_heif
    listed = listing.below(listing.root / name)
    if listed:
        return listed
    faults = listing.faults[faults_before:]
    unread = listing.unread_heif - heif_before
    kinds = f" that can be read: {unread} are HEIC" if unread else ", only links that are not followed" * bool(faults)
    do = "install pillow-heif, or convert them" if unread else "add some, or take its folder away"
    raise DataError(
        f"data {listing.root}", found=f"class {name} has no pictures{kinds}", do=do, items=[str(one) for one in faults]
    )


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
