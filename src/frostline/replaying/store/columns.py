"""Columns: one live tensor for all samples, in a flat file that is mapped and checked shard by shard."""

import ctypes
import errno
import mmap
import os
import warnings
import weakref
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from frostline.replaying.store.entries import IN_USE, JOURNAL, ROWS, Meta
from frostline.replaying.store.journal import Journal
from frostline.replaying.store.locks import FileLock, opened
from frostline.replaying.store.trouble import told

if TYPE_CHECKING:
    from frostline.replaying.store.folder import Store


class DamagedError(Exception):
    """Shards that are not recorded, or not as their checksum says; they count as missing from now on."""

    def __init__(self, shards: Iterable[int]) -> None:
        self.shards = tuple(shards)
        super().__init__(f"shards {', '.join(map(str, self.shards))}")


class Column:
    """The rows of one live tensor, one for each sample; `Store.column` opens it.

    Attributes:
        key: hex digest of all that the values depend on.
        dtype: of the numbers.
        shape: of a row.
        rows: samples of the data set.
        shard_rows: rows of a shard; the last one may have fewer.
        stored_rows: rows that are kept under the budget: a prefix of whole shards.
    """

    def __init__(self, folder: Path, *, meta: Meta, lock: FileLock, store: "Store") -> None:
        self._folder = folder
        self._meta = meta
        self._lock = lock
        self._store = store
        self._has_room = False
        self.key = meta.key
        self.dtype: torch.dtype = getattr(torch, meta.dtype)
        self.shape = meta.shape
        self.rows = meta.rows
        self.shard_rows = meta.shard_rows
        self.stored_rows = meta.stored_rows
        self._row_bytes = row_bytes(self.dtype, self.shape)
        self._file_bytes = self.stored_rows * self._row_bytes
        self._journal = Journal(folder / JOURNAL)
        self._verified: set[int] = set()
        self._handle = opened(folder / ROWS)
        self._closing = weakref.finalize(self, os.close, self._handle)
        self._whole()
        self._bytes, self._values = self._map()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as what another process opens again."""
        return _again, (self._folder, self._meta, self._store)

    def missing(self) -> list[int]:
        """Give the numbers of the shards that are not recorded, or were found damaged; in order, of those that fit."""
        return self._meta.missing(self._journal)

    def write(self, shard: int, rows: Tensor) -> None:
        """Record a shard: the bytes first, then its line in the journal.

        Args:
            shard: its number.
            rows: its rows (n × shape), all of them, on any device.

        Raises:
            StoreError: the disk is full, or the folder cannot be written.
            ValueError: a shard that is not kept, or rows of another number, shape or dtype.
        """
        if not 0 <= shard < self._meta.shards:
            raise ValueError(f"shard {shard} of {self._meta.shards}")
        expected = (self._meta.rows_of(shard), *self.shape)
        if tuple(rows.shape) != expected or rows.dtype != self.dtype:
            raise ValueError(f"shard {shard} is {self.dtype} {expected}, not {rows.dtype} {tuple(rows.shape)}")
        plain = rows.detach().to("cpu").resolve_conj().resolve_neg().contiguous()
        content = memoryview((ctypes.c_char * plain.nbytes).from_address(plain.data_ptr())) if plain.nbytes else b""
        with told(self._folder.parent, needed_bytes=len(content)):
            if not self._has_room:
                self._store.make_room(self.key)
                self._has_room = True
            self._whole()
            offset, done = shard * self.shard_rows * self._row_bytes, 0
            while done < len(content):
                wrote = os.pwrite(self._handle, content[done:], offset + done)
                if wrote == 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                done += wrote
            self._journal.append(shard, b"%08x" % zlib.crc32(content))
        self._verified.discard(shard)

    def read(self, rows: Tensor) -> Tensor:
        """Gather rows; the first touch of a shard in this process verifies its checksum.

        Args:
            rows: numbers of samples (n), each below `stored_rows`; any order, also several times.

        Returns:
            A copy (n × shape) of its own, on the CPU.

        Raises:
            DamagedError: shards that are not recorded, or damaged.
            IndexError: a row that is not kept.
        """
        wanted = rows.to("cpu", torch.int64)
        if wanted.numel() == 0:
            return torch.empty((0, *self.shape), dtype=self.dtype)
        low, high = (int(end) for end in wanted.aminmax())
        if low < 0 or high >= self.stored_rows:
            raise IndexError(f"rows {low} to {high} of {self.stored_rows} that are kept")
        try:
            self._whole()
        except OSError as error:
            if error.errno == errno.EBADF:  # it was closed
                raise
            # Whoever records them again learns why it cannot be mended.
            raise DamagedError(set((wanted // self.shard_rows).tolist())) from None
        if len(self._verified) < self._meta.shards:
            shards = sorted(set((wanted // self.shard_rows).tolist()))
            bad = [shard for shard in shards if shard not in self._verified and not self._verify(shard)]
            if bad:
                raise DamagedError(bad)
        return self._values.index_select(0, wanted)

    def close(self) -> None:
        """Give the column free for eviction; nothing can be read from it any more."""
        self._values = torch.empty(0)
        self._bytes = memoryview(b"")
        self._closing()
        with suppress(OSError):  # gone, or not this user's
            os.utime(self._lock.path)
        self._lock.close()

    def _verify(self, shard: int) -> bool:
        start = shard * self.shard_rows * self._row_bytes
        found = b"%08x" % zlib.crc32(self._bytes[start : start + self._meta.rows_of(shard) * self._row_bytes])
        said = self._journal.payload(shard)
        if said != found:
            # Another process may have recorded it since the last look.
            self._journal.refresh()
            said = self._journal.payload(shard)
        if said == found:
            self._verified.add(shard)
        elif said is not None:
            self._journal.drop([shard])
        return said == found

    def _whole(self) -> None:
        """Give a file that was cut its length back: reading past the end of a mapped file kills the process."""
        size_bytes = os.fstat(self._handle).st_size
        if size_bytes >= self._file_bytes:
            return
        first = size_bytes // (self.shard_rows * self._row_bytes)
        self._verified -= set(range(first, self._meta.shards))
        self._journal.drop([shard for shard in sorted(self._journal.recorded()) if first <= shard < self._meta.shards])
        os.ftruncate(self._handle, self._file_bytes)

    def _map(self) -> tuple[memoryview, Tensor]:
        if self._file_bytes == 0:
            return memoryview(b""), torch.empty((self.stored_rows, *self.shape), dtype=self.dtype)
        # Not torch.from_file: its private mapping counts as memory, and is refused where it is larger than that.
        mapped = mmap.mmap(self._handle, self._file_bytes, access=mmap.ACCESS_READ)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given buffer is not writable")
            flat = torch.frombuffer(mapped, dtype=self.dtype)
        return memoryview(mapped), flat.view(self.stored_rows, *self.shape)


def row_bytes(dtype: torch.dtype, shape: tuple[int, ...]) -> int:
    """Give the bytes of a row."""
    return int(torch.Size(shape).numel()) * dtype.itemsize


def _again(folder: Path, meta: Meta, store: "Store") -> Column:
    """Open a column in another process, while the one that opened it first has it open."""
    with told(folder.parent, needed_bytes=0):
        lock = FileLock(folder / IN_USE, create=False)
        lock.shared()
        return Column(folder, meta=meta, lock=lock, store=store)
