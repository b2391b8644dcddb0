"""The store: a folder with what frozen prefixes have computed, shared by runs, under a budget."""

import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.errors import StoreError
from frostline.record import write_atomically
from frostline.replaying.store.budget import Disk, Ledger, default_budget
from frostline.replaying.store.entries import (
    ENTRY_BYTES,
    IN_USE,
    META,
    Entry,
    Meta,
    clear,
    clear_empty,
    disk_bytes,
    look,
    read_meta,
)
from frostline.replaying.store.locks import FileLock
from frostline.replaying.store.planning import check_same, full, plan, prepare, remove
from frostline.replaying.store.trouble import told

if TYPE_CHECKING:
    import torch

    from frostline.replaying.store.columns import Column
    from frostline.replaying.store.items import Items

LOCK, RECORDING = "lock", "recording"
# Files that say who is recording; two keys in one of them wait for each other without need.
RECORDING_FILES = 4096
# What the items of a sample are taken for before they are known: a label and a name.
VALUE_BYTES = 64


def default_folder() -> Path:
    """Give the folder of the store: $FROSTLINE_STORE, else frostline/store in the user's folder for caches.

    Raises:
        StoreError: nothing says where the user's folder is.
    """
    named = os.environ.get("FROSTLINE_STORE")
    if named:
        return Path(named)
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "frostline" / "store"
    try:
        return folder.expanduser()
    except RuntimeError:
        raise StoreError("store", found="no home folder", do="name a folder in FROSTLINE_STORE") from None


class Store:
    """A folder of columns and items, by key; several processes may use it at once.

    Attributes:
        folder: where it is; made when the first column is.
    """

    def __init__(self, folder: Path | None = None, *, budget_bytes: int | None = None) -> None:
        self.folder = default_folder() if folder is None else folder
        self._asked_bytes = budget_bytes

    @property
    def budget_bytes(self) -> int:
        """What the folder may take at most; by default half of what the disk has for it, and 20 GB at most."""
        if self._asked_bytes is not None:
            return self._asked_bytes
        held_bytes = sum(disk_bytes(folder) for folder in self._folders())
        return default_budget(Disk.of(self.folder), held_bytes)

    def column(
        self,
        key: str,
        *,
        dtype: "torch.dtype",
        shape: tuple[int, ...],
        rows: int,
        shard_rows: int,
        about: Mapping[str, Any],
        most_rows: int | None = None,
    ) -> "Column":
        """Open a column, or create it; it stays in use until it is closed.

        As many rows are kept as the budget has room for, and for them what nobody uses makes room, the least recently
        used first, when the first of them are written. Of a column that another process has open, as many are kept as
        that one decided.

        Args:
            key: hex digest of all that the values depend on.
            dtype: of the numbers.
            shape: of a row.
            rows: samples of the data set.
            shard_rows: samples of a shard; an existing column keeps its own.
            about: words for people: network, frontier and the like.
            most_rows: keep no more than these; what is there already stays.

        Raises:
            StoreError: another column has that key, no shard fits, or the folder cannot be written.
        """
        from frostline.replaying.store.columns import Column, row_bytes

        asked = Meta(
            key=key,
            kind="column",
            rows=rows,
            shard_rows=shard_rows,
            stored_rows=rows,
            claim_bytes=0,
            dtype=str(dtype).removeprefix("torch."),
            shape=tuple(shape),
            about=about,
        )
        with told(self.folder, needed_bytes=ENTRY_BYTES):
            meta, lock = self._open(asked, row_bytes=row_bytes(dtype, tuple(shape)), most_rows=most_rows)
            return Column(self.folder / key, meta=meta, lock=lock, store=self)

    def items(
        self,
        key: str,
        *,
        rows: int,
        shard_rows: int,
        about: Mapping[str, Any],
        most_rows: int | None = None,
        value_bytes: int = VALUE_BYTES,
    ) -> "Items":
        """Open what else the samples of a data set hold, or create it; arguments and errors as for `column`.

        `value_bytes` is about what a sample takes, as text; where it takes more, that is found while it is written.
        """
        from frostline.replaying.store.items import Items

        asked = Meta(
            key=key, kind="items", rows=rows, shard_rows=shard_rows, stored_rows=rows, claim_bytes=0, about=about
        )
        with told(self.folder, needed_bytes=ENTRY_BYTES):
            meta, lock = self._open(asked, row_bytes=value_bytes, most_rows=most_rows)
            return Items(self.folder / key, meta=meta, lock=lock, store=self)

    @contextmanager
    def recording(self, keys: Iterable[str], *, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
        """Record alone: another process that asks for one of the keys waits, and then sees what is there.

        It ends with the process. One process must not ask again for a key inside of it.

        Args:
            keys: of columns and items.
            on_wait: called where another process is recording, before this one waits.

        Raises:
            StoreError: the folder cannot be written.
        """
        # In one order in every process: two that want the same never wait for each other.
        numbers = sorted({zlib.crc32(key.encode()) % RECORDING_FILES for key in keys})
        locks = []
        with ExitStack() as held:
            with told(self.folder, needed_bytes=0):
                (self.folder / RECORDING).mkdir(parents=True, exist_ok=True)
                for number in numbers:
                    locks.append(FileLock(self.folder / RECORDING / f"{number:03x}"))
                    held.callback(locks[-1].free)
            for lock in locks:
                if lock.try_alone():
                    continue
                if on_wait is not None:
                    on_wait()
                    on_wait = None
                lock.alone()
            yield

    @property
    def writable(self) -> bool:
        """Whether anything may be recorded: of a store on a disk that is only read, what is there is used."""
        return not self.folder.exists() or os.access(self.folder, os.W_OK)

    def room_bytes(self, *, besides: Iterable[str] = ()) -> int:
        """Say what may still be written under the budget, where all makes room that no process uses.

        Args:
            besides: keys of columns and items that are to be opened: what they take and claim counts as room.
        """
        with self._locked():
            return self._ledger().room_bytes(besides=set(besides), evicting=True)

    def check_room(self, needed_bytes: int, *, besides: Iterable[str], holds: str) -> int:
        """Ask whether some entries have room together, before any of them is opened and anything makes room.

        Args:
            needed_bytes: what they need at least, in all.
            besides: their keys: what they take and claim counts as room.
            holds: what the room is for, in words.

        Returns:
            Bytes that they may take.

        Raises:
            StoreError: there is not so much room, or the folder cannot be written.
        """
        keys = set(besides)
        with self._locked():
            ledger = self._ledger()
            room_bytes = ledger.room_bytes(besides=keys, evicting=True)
            if room_bytes < needed_bytes:
                raise full(self.folder, ledger, needed_bytes, besides=keys, holds=holds)
            return room_bytes

    def make_room(self, key: str) -> None:
        """Evict for an entry in use what its claim needs, before it is written into.

        Raises:
            StoreError: it was removed, or the folder cannot be written.
        """
        with self._locked():
            # Where it may only be read, this says why; it was opened all the same.
            os.close(os.open(self.folder / key / IN_USE, os.O_RDWR))
            self._ledger().evict(self._claimed(key).claim_bytes, besides=key, remove=remove)

    def remove_empty(self) -> None:
        """Remove the entries in which nothing was recorded, and that no process uses."""
        if self.folder.is_dir() and self.writable:
            with self._locked():
                self._remove_empty()

    def evict(self, *, to_bytes: int) -> tuple[Entry, ...]:
        """Remove the least recently used entries that no process uses, until the store takes no more than that.

        Returns:
            What was removed.
        """
        removed: list[Entry] = []
        if not self._there():
            return ()
        with self._locked():
            entries = self._look(count=False)
            size_bytes = sum(entry.size_bytes for entry in entries)
            for entry in entries:
                if size_bytes > to_bytes and not entry.in_use:
                    clear(entry.folder, whole=True)
                    size_bytes -= entry.size_bytes
                    removed.append(entry)
        return tuple(removed)

    def remove(self, keys: Iterable[str]) -> tuple[Entry, ...]:
        """Remove entries that no process uses.

        Returns:
            What was removed; what is in use is left.
        """
        wanted = set(keys)
        if not self._there():
            return ()
        with self._locked():
            removed = tuple(e for e in self._look(count=False) if e.key in wanted and not e.in_use)
            for entry in removed:
                clear(entry.folder, whole=True)
        return removed

    def entries(self) -> list[Entry]:
        """Give what the store holds, the least recently used first."""
        if not self._there():
            return []
        with self._locked():
            return self._look(count=True)

    def claim(self, key: str, *, needed_bytes: int) -> int:
        """Let an entry in use grow.

        Args:
            key: of the entry.
            needed_bytes: what it needs in all.

        Returns:
            Bytes that it may take now.

        Raises:
            StoreError: the budget has no room for that.
        """
        with self._locked():
            meta = self._claimed(key)
            if needed_bytes <= meta.claim_bytes:
                return meta.claim_bytes
            ledger = self._ledger()
            room_bytes = ledger.room_bytes(besides=(key,), evicting=True)
            if needed_bytes > room_bytes:
                raise full(self.folder, ledger, needed_bytes, besides=(key,))
            grown = replace(meta, claim_bytes=min(2 * needed_bytes, room_bytes))
            ledger.evict(grown.claim_bytes, besides=key, remove=remove)
            write_atomically(self.folder / key / META, grown.to_text())
            return grown.claim_bytes

    def _open(self, asked: Meta, *, row_bytes: int, most_rows: int | None) -> tuple[Meta, FileLock]:
        if re.fullmatch(r"[0-9A-Za-z_-]{1,200}", asked.key) is None or asked.key in (LOCK, RECORDING):
            raise ValueError(f"no key: {asked.key!r}")
        if asked.rows < 1 or asked.shard_rows < 1:
            raise ValueError(f"{asked.rows} rows in shards of {asked.shard_rows}")
        folder = self.folder / asked.key
        with self._locked():
            before = read_meta(folder)
            lock = FileLock(folder / IN_USE) if folder.is_dir() else None
            others = lock is not None and not lock.try_alone()
            if before is not None:
                check_same(folder, before, asked)
            elif others:
                # They may have it in other shards: what they write would be taken for ours.
                raise StoreError(
                    f"store {self.folder}: {asked.key[:12]}",
                    found="its description is damaged, and another process uses it",
                    do="wait for its end; then it is recorded again",
                )
            if before is None or not (others or not os.access(folder, os.W_OK)):
                self._remove_empty(besides=asked.key)
                meta = plan(folder, asked, before, ledger=self._ledger(), row_bytes=row_bytes, most_rows=most_rows)
                folder.mkdir(exist_ok=True)
                lock = lock or FileLock(folder / IN_USE)
                prepare(folder, before, meta, row_bytes=row_bytes)
            else:
                meta = before  # what the others decided stands, so that all know the same rows
            held = lock or FileLock(folder / IN_USE)
            held.shared()
            with suppress(OSError):  # whose it is not, or on a disk that is only read
                os.utime(folder / IN_USE)
            return meta, held

    def _claimed(self, key: str) -> Meta:
        meta = read_meta(self.folder / key)
        if meta is None:
            raise StoreError(f"store {self.folder}", found=f"{key[:12]} was removed", do="open it again")
        return meta

    def _there(self) -> bool:
        with told(self.folder, needed_bytes=0):
            return (self.folder / LOCK).exists()

    def _remove_empty(self, *, besides: str = "") -> None:
        for folder in self._folders()[1:]:
            clear_empty(folder, besides=besides)

    def _folders(self) -> list[Path]:
        """Give the folders that the store has made: its own, the locks' and the entries'."""
        if not self.folder.is_dir():
            return []
        return [self.folder, *(path for path in self.folder.iterdir() if (path / IN_USE).exists())]

    def _look(self, *, count: bool) -> list[Entry]:
        found = [look(folder, count=count) for folder in self._folders()[1:]]
        return sorted((entry for entry in found if entry is not None), key=lambda entry: entry.used)

    def _ledger(self) -> Ledger:
        fixed_bytes = sum(disk_bytes(path) for path in (self.folder, self.folder / RECORDING) if path.is_dir())
        return Ledger(
            self._look(count=False),
            budget_bytes=self.budget_bytes,
            fixed_bytes=fixed_bytes,
            disk=Disk.of(self.folder),
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with told(self.folder, needed_bytes=0):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / LOCK)
            lock.alone()
            try:
                yield
            finally:
                lock.close()
