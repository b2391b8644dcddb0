"""The folder of a run that was made where nobody else sees it, as bytes, and as a folder again."""

import shutil
from collections.abc import Mapping
from pathlib import Path


def read_folder(folder: Path) -> dict[str, bytes]:
    """Give all files of a folder, by their paths within it; of one that is not there, none."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put files in the place of a folder, at once or not at all: a kill leaves no run that looks whole and is not.

    Args:
        folder: it need not be there; what is in it is of an earlier try.
        files: by their paths within it.

    Raises:
        OSError: they cannot be written.
    """
    beside = folder.with_name(f".{folder.name}")
    shutil.rmtree(beside, ignore_errors=True)  # a kill may have left it
    for name, content in files.items():
        path = beside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if folder.exists():
        shutil.rmtree(folder)
    beside.rename(folder)
