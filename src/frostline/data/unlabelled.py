"""Pictures without labels: what lies below a folder, for a network to say what it sees."""

from pathlib import Path

from frostline.data.faults import Fault
from frostline.data.listing import Listing
from frostline.data.pictures import NEEDS_HEIF
from frostline.data.sources import MANIFESTS
from frostline.errors import DataError


def list_pictures(source: Path, *, follow_links: bool = False) -> tuple[list[Path], tuple[Fault, ...]]:
    """List the pictures below a folder at any depth, sorted; or the one picture that a file is.

    Args:
        source: a folder or a picture.
        follow_links: follow links that lead out of the folder.

    Returns:
        The pictures, and what cannot be one: links that are not followed, folders that cannot be read, and HEIC files
        where nothing reads them.

    Raises:
        DataError: nothing there, or no picture in it that can be read.
    """
    if source.suffix.lower() in MANIFESTS and source.is_file():
        raise DataError(
            f"pictures {source}", found="a list of pictures, and no picture", do="name the folder that they lie in"
        )
    if source.is_file():
        return [source], ()
    if not source.is_dir():
        raise DataError(f"pictures {source}", found="no such folder or file", do="name a folder of pictures, or one")
    listing = Listing(source, follow_links=follow_links)
    paths = [path for path, _ in listing.below(source)]
    heif = [Fault(str(path), NEEDS_HEIF) for path in sorted(listing.unread_heif.values())]
    faults = (*listing.faults, *heif)
    if not paths:
        raise DataError(
            f"pictures {source}",
            found="no pictures in it" + " that can be read: the HEIC files need a package" * bool(heif),
            do="pip install pillow-heif, or convert them" if heif else "name a folder of pictures",
            items=map(str, faults),
        )
    return paths, faults
