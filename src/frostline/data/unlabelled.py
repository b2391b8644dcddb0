"""Pictures without labels: what lies below a folder, for a network to say what it sees."""

from pathlib import Path

from frostline.data.faults import Fault
from frostline.data.listing import Listing
from frostline.errors import DataError


def list_pictures(source: Path, *, follow_links: bool = False) -> tuple[list[Path], tuple[Fault, ...]]:
    """List the pictures below a folder at any depth, sorted; or the one picture that a file is.

    Args:
        source: a folder or a picture.
        follow_links: follow links that lead out of the folder.

    Returns:
        The pictures, and the links that are not followed.

    Raises:
        DataError: nothing there, or no picture in it.
    """
    if source.is_file():
        return [source], ()
    if not source.is_dir():
        raise DataError(f"pictures {source}", found="no such folder or file", do="name a folder of pictures, or one")
    listing = Listing(source, follow_links=follow_links)
    paths = [path for path, _ in listing.below(source)]
    if not paths:
        heif = "; ".join(listing.notes())
        raise DataError(
            f"pictures {source}",
            found=heif or "no pictures in it",
            do="name a folder of pictures",
            items=map(str, listing.faults),
        )
    return paths, tuple(listing.faults)
