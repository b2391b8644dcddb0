"""Planning: how many rows of an entry are kept under the budget, and the folder made so."""

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from frostline.errors import StoreError
from frostline.record import write_atomically
from frostline.replaying.store.budget import Ledger
from frostline.replaying.store.entries import (
    BLOCK_BYTES,
    ENTRY_BYTES,
    JOURNAL,
    LINE_BYTES,
    META,
    ROWS,
    Entry,
    Meta,
    clear,
    rounded,
)
from frostline.replaying.store.journal import Journal
from frostline.replaying.store.sizes import show_size
from frostline.replaying.store.trouble import ELSEWHERE

# One byte in so many is set aside for the extents of a large file.
EXTENTS = 1000


def plan(
    folder: Path, asked: Meta, before: Meta | None, *, ledger: Ledger, row_bytes: int, most_rows: int | None
) -> Meta:
    """Decide how many rows are kept, and evict for the description alone: perhaps nothing is ever written.

    Args:
        folder: of the entry.
        asked: what is to be opened, with all its rows.
        before: what is there already.
        ledger: the sums of the store.
        row_bytes: of a row.
        most_rows: keep no more than these; what is there already stays.

    Raises:
        StoreError: not a single shard has room.
    """
    rows, shard_rows = asked.rows, asked.shard_rows if before is None else before.shard_rows
    wanted_rows = rows if most_rows is None else min(rows, most_rows)
    if before is not None:
        asked = before
        wanted_rows = max(wanted_rows, before.stored_rows)
        journal = folder / JOURNAL
        if before.kind == "items" and journal.exists():
            row_bytes = max(row_bytes, -(-journal.stat().st_size // before.stored_rows))
    fixed_bytes = ENTRY_BYTES + 2 * BLOCK_BYTES + rounded(len(asked.to_text()))

    def claim(count: int) -> int:
        data_bytes = min(count * shard_rows, rows) * row_bytes
        return fixed_bytes + rounded(data_bytes) + data_bytes // EXTENTS + count * LINE_BYTES

    room_bytes = ledger.room_bytes(besides=(asked.key,), evicting=True)
    shards = wanted_rows // shard_rows if wanted_rows < rows else -(-rows // shard_rows)
    if claim(shards) > room_bytes:
        each_bytes = shard_rows * row_bytes + shard_rows * row_bytes // EXTENTS + 1 + LINE_BYTES
        shards = max(0, room_bytes - fixed_bytes - BLOCK_BYTES) // each_bytes
    if shards == 0:
        raise full(folder.parent, ledger, claim(1), besides=(asked.key,))
    if before is None:
        ledger.evict(fixed_bytes, besides=asked.key, remove=remove)
    return replace(asked, stored_rows=min(shards * shard_rows, rows), claim_bytes=claim(shards))


def prepare(folder: Path, before: Meta | None, meta: Meta, *, row_bytes: int) -> None:
    """Write the description; what it no longer has room for is cut off, and what nothing describes is removed."""
    if before is None:
        clear(folder, whole=False)
    elif meta.stored_rows < before.stored_rows:
        Journal(folder / JOURNAL).keep_first(meta.shards)
    if meta.kind == "column":
        (folder / ROWS).touch()
        # The column itself lengthens its file, and sees there what somebody cut off.
        if (folder / ROWS).stat().st_size > meta.stored_rows * row_bytes:
            os.truncate(folder / ROWS, meta.stored_rows * row_bytes)
    if meta != before:
        write_atomically(folder / META, meta.to_text())


def check_same(folder: Path, there: Meta, asked: Meta) -> None:
    """Compare what is there with what is asked for.

    Raises:
        StoreError: they differ.
    """
    if (there.kind, there.dtype, there.shape, there.rows) != (asked.kind, asked.dtype, asked.shape, asked.rows):
        raise StoreError(
            f"store {folder.parent}: {asked.key[:12]}",
            found=f"it holds {_words(there)}, and {_words(asked)} were asked for",
            do=f"remove it: frostline store prune --dir {folder.parent} {asked.key[:12]}",
        )


def full(store: Path, ledger: Ledger, needed_bytes: int, *, besides: Collection[str], holds: str = "") -> StoreError:
    """Give the error of a store without room.

    Args:
        store: its folder.
        ledger: its sums.
        needed_bytes: what was needed.
        besides: keys of the entries that needed it.
        holds: what they hold, in words.
    """
    words = f" ({holds})" if holds else ""
    return StoreError(
        f"store {store}",
        found=f"no room for {show_size(needed_bytes)}{words}: {ledger.words(besides=besides)}",
        do=f"raise the budget, make room on the disk, {ELSEWHERE}",
    )


def remove(entry: Entry) -> None:
    """Remove an entry that no process uses."""
    clear(entry.folder, whole=True)


def _words(meta: Meta) -> str:
    numbers = f" of {meta.dtype} {meta.shape}" if meta.kind == "column" else ""
    return f"{meta.kind}{numbers} for {meta.rows:,} samples"
