"""Entries: the folders of a store, each one for each column or the items of a data set; what they take."""

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from frostline.replaying.store.journal import Journal
from frostline.replaying.store.locks import FileLock

META, ROWS, JOURNAL, IN_USE = "column.json", "rows.bin", "journal", "in-use"
FORMAT = 2
KINDS = ("column", "items")
BLOCK_BYTES = 4096
# Folder, description and the extents of a large file.
ENTRY_BYTES = 8 * BLOCK_BYTES
# A line of a column's journal, twice: a damaged shard is taken back and recorded again.
LINE_BYTES = 3 * 32


@dataclass(frozen=True, kw_only=True)
class Meta:
    """The content of `column.json`.

    Attributes:
        key: hex digest of all that the values depend on.
        kind: "column" or "items".
        rows: samples of the data set.
        shard_rows: samples of a shard; the last one may have fewer.
        stored_rows: samples that are kept under the budget: a prefix of whole shards.
        claim_bytes: what the entry may take while a process uses it.
        dtype: of a column's numbers, such as "float16".
        shape: of a column's row.
        about: words for people: network, frontier and the like.
    """

    key: str
    kind: str
    rows: int
    shard_rows: int
    stored_rows: int
    claim_bytes: int
    dtype: str = ""
    shape: tuple[int, ...] = ()
    about: Mapping[str, Any]

    @property
    def shards(self) -> int:
        """Number of shards that are kept."""
        return -(-self.stored_rows // self.shard_rows)

    def rows_of(self, shard: int) -> int:
        """Give the number of rows of a shard; only the last of the data set has fewer than the others."""
        return min(self.shard_rows, self.rows - shard * self.shard_rows)

    def missing(self, journal: Journal) -> list[int]:
        """Give the numbers of the shards that a journal does not have, in order, among those that are kept."""
        recorded = journal.recorded()
        return [shard for shard in range(self.shards) if shard not in recorded]

    @property
    def sound(self) -> bool:
        """Whether it can be so at all; what was read is not believed before."""
        numbers = (self.rows, self.shard_rows, self.stored_rows, self.claim_bytes, *self.shape)
        if not all(type(number) is int and number >= 0 for number in numbers):
            return False
        return (
            self.kind in KINDS
            and isinstance(self.dtype, str)
            and isinstance(self.about, dict)
            and self.shard_rows >= 1
            and 1 <= self.stored_rows <= self.rows
            and (self.stored_rows == self.rows or self.stored_rows % self.shard_rows == 0)
        )

    def to_text(self) -> str:
        """The content of `column.json`."""
        content = {"format": FORMAT, **asdict(self), "about": dict(self.about)}
        return json.dumps({**content, "checksum": _checksum(content)}, indent=2) + "\n"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One column or the items of one data set, as it lies in the store.

    Attributes:
        folder: where it lies; its name is the key.
        meta: None where the description is missing or cannot be read.
        recorded_rows: rows that are there.
        size_bytes: what it takes on the disk.
        used: when it was last opened or closed, in seconds since 1970.
        in_use: whether a live process has it open.
    """

    folder: Path
    meta: Meta | None
    recorded_rows: int
    size_bytes: int
    used: float
    in_use: bool

    @property
    def key(self) -> str:
        """Hex digest of all that the values depend on."""
        return self.folder.name

    @property
    def complete(self) -> bool:
        """Whether all is there that was to be kept."""
        return self.meta is not None and self.recorded_rows >= self.meta.stored_rows

    @property
    def claim_bytes(self) -> int:
        """What others must leave to it: what it takes, and what a process that uses it may still write."""
        return max(self.size_bytes, self.meta.claim_bytes) if self.in_use and self.meta else self.size_bytes


def read_meta(folder: Path) -> Meta | None:
    """Read the description of an entry; None where there is none, or another than was written.

    Raises:
        OSError: there is one, and it cannot be read.
    """
    try:
        content = json.loads((folder / META).read_bytes())
        if content.pop("checksum") != _checksum(content) or content.pop("format") != FORMAT:
            return None
        meta = Meta(**{**content, "shape": tuple(content["shape"])})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return meta if meta.key == folder.name and meta.sound else None


def _checksum(content: Mapping[str, Any]) -> str:
    """Give the checksum of what JSON makes of a description, however it is laid out."""
    plain = json.loads(json.dumps(content))
    return f"{zlib.crc32(json.dumps(plain, sort_keys=True).encode()):08x}"


def look(folder: Path, *, count: bool) -> Entry | None:
    """Look at one entry; the caller has the store's lock.

    Args:
        folder: of the entry.
        count: whether to read the journal, and count the rows.

    Returns:
        The entry; None where the folder is none of ours.
    """
    try:
        lock = FileLock(folder / IN_USE, create=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    in_use = not lock.try_alone()
    used = lock.path.stat().st_mtime
    lock.close()
    try:
        meta = read_meta(folder)
    except OSError:
        meta = None
    recorded = 0
    if count and meta is not None:
        shards = Journal(folder / JOURNAL).recorded()
        recorded = sum(meta.rows_of(shard) for shard in shards if shard < meta.shards)
    return Entry(
        folder=folder, meta=meta, recorded_rows=recorded, size_bytes=disk_bytes(folder), used=used, in_use=in_use
    )


def disk_bytes(folder: Path) -> int:
    """Give what a folder and the files right in it take on the disk."""
    total = 0
    for path in [folder, *folder.iterdir()]:
        try:
            total += os.lstat(path).st_blocks * 512
        except FileNotFoundError:
            continue  # somebody's half-written file has just found its place
    return total


def clear(folder: Path, *, whole: bool) -> None:
    """Remove what is in an entry, the description first: what a kill leaves counts as nothing.

    Only names that a store gives are removed, whatever else somebody keeps there.

    Args:
        folder: of the entry.
        whole: whether to remove the folder too.
    """
    beside = [path for name in (META, JOURNAL) for path in folder.glob(f".{name}.*")]
    for path in [folder / META, folder / JOURNAL, folder / ROWS, *beside]:
        path.unlink(missing_ok=True)
    if whole:
        (folder / IN_USE).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.resolve().rmdir()
            if folder.is_symlink():  # somebody keeps it on another disk
                folder.unlink()


def clear_empty(folder: Path, *, besides: str = "") -> bool:
    """Remove an entry in which nothing was recorded and that no process uses; say whether it was one."""
    if folder.name == besides or (folder / JOURNAL).exists() or not os.access(folder, os.W_OK):
        return False
    lock = FileLock(folder / IN_USE, create=False)
    try:
        alone = lock.try_alone()
        if alone:
            clear(folder, whole=True)
        return alone
    finally:
        lock.close()


def rounded(size_bytes: int) -> int:
    """Round up to whole blocks of the disk."""
    return -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES
