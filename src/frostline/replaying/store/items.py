"""Items: what else the samples of a data set hold, one checksummed line a shard."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.replaying.store.columns import DamagedError
from frostline.replaying.store.entries import ENTRY_BYTES, IN_USE, JOURNAL, Meta
from frostline.replaying.store.journal import Journal, line_of
from frostline.replaying.store.locks import FileLock
from frostline.replaying.store.trouble import told
from frostline.replaying.store.values import from_text, to_text

if TYPE_CHECKING:
    from frostline.replaying.store.folder import Store


class Items:
    """The labels and names of samples; `Store.items` opens them.

    Attributes:
        key: hex digest of all that the values depend on.
        rows: samples of the data set.
        shard_rows: samples of a shard; the last one may have fewer.
        stored_rows: samples that are kept: a prefix of whole shards.
    """

    def __init__(self, folder: Path, *, meta: Meta, lock: FileLock, store: "Store") -> None:
        self._folder = folder
        self._meta = meta
        self._lock = lock
        self._store = store
        self.key = meta.key
        self.rows = meta.rows
        self.shard_rows = meta.shard_rows
        self.stored_rows = meta.stored_rows
        self._claim_bytes = meta.claim_bytes
        self._has_room = False
        self._journal = Journal(folder / JOURNAL)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as what another process opens again."""
        return _again, (self._folder, self._meta, self._store)

    def missing(self) -> list[int]:
        """Give the numbers of the shards that are not recorded, or were found damaged; in order."""
        return self._meta.missing(self._journal)

    def write(self, shard: int, values: Sequence[Any]) -> None:
        """Record what the samples of a shard hold.

        Args:
            shard: its number.
            values: one for each of its samples: what `to_text` writes.

        Raises:
            Refusal: a value of another type; the text names it and where it is.
            StoreError: no room under the budget or on the disk, or the folder cannot be written.
            ValueError: a shard that is not kept, or another number of values than it has samples.
        """
        if not 0 <= shard < self._meta.shards or len(values) != self._meta.rows_of(shard):
            raise ValueError(f"shard {shard} of {self._meta.shards}, with {len(values)} values")
        first = shard * self.shard_rows
        texts = [to_text(value, name=f"sample {first + place}") for place, value in enumerate(values)]
        # JSON writes a tab as \t, so that a real one can divide the values.
        payload = "\t".join(texts).encode("ascii")
        needed_bytes = len(line_of(shard, payload))
        with told(self._folder.parent, needed_bytes=needed_bytes):
            if not self._has_room:
                self._store.make_room(self.key)
                self._has_room = True
            path = self._journal.path
            total_bytes = needed_bytes + ENTRY_BYTES + (path.stat().st_size if path.exists() else 0)
            if total_bytes > self._claim_bytes:
                self._claim_bytes = self._store.claim(self.key, needed_bytes=total_bytes)
            self._journal.append(shard, payload)

    def read(self, index: int) -> Any:
        """Give what a sample holds, made anew at each call.

        Args:
            index: number of the sample, below `stored_rows`.

        Raises:
            DamagedError: its shard is not recorded, or damaged.
            IndexError: a sample that is not kept.
        """
        if not 0 <= index < self.stored_rows:
            raise IndexError(f"sample {index} of {self.stored_rows} that are kept")
        shard, place = divmod(index, self.shard_rows)
        return from_text(self._texts(shard)[place])

    def read_shard(self, shard: int) -> list[Any]:
        """Give what the samples of a shard hold, made anew at each call.

        Args:
            shard: its number.

        Raises:
            DamagedError: it is not recorded, or damaged.
            IndexError: a shard that is not kept.
        """
        if not 0 <= shard < self._meta.shards:
            raise IndexError(f"shard {shard} of {self._meta.shards} that are kept")
        return [from_text(text) for text in self._texts(shard)]

    def _texts(self, shard: int) -> list[bytes]:
        payload = self._journal.payload(shard)
        if payload is None:
            self._journal.refresh()
            payload = self._journal.payload(shard)
        parts = payload.split(b"\t") if payload is not None else []
        if len(parts) != self._meta.rows_of(shard):
            if shard in self._journal.recorded():
                self._journal.drop([shard])
            raise DamagedError([shard])
        return parts

    def close(self) -> None:
        """Give the items free for eviction."""
        with suppress(OSError):  # gone, or not this user's
            os.utime(self._lock.path)
        self._lock.close()


def _again(folder: Path, meta: Meta, store: "Store") -> Items:
    """Open items in another process, while the one that opened them first has them open."""
    with told(folder.parent, needed_bytes=0):
        lock = FileLock(folder / IN_USE, create=False)
        lock.shared()
        return Items(folder, meta=meta, lock=lock, store=store)
