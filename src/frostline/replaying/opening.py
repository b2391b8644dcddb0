"""Opening columns: several of them share what the budget has room for, so that all keep the same samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from frostline.errors import StoreError
from frostline.replaying.store import Store, show_size
from frostline.replaying.store.columns import Column, row_bytes
from frostline.replaying.store.entries import BLOCK_BYTES, ENTRY_BYTES, LINE_BYTES
from frostline.replaying.store.folder import EXTENTS

# Folder, description and journal of a column, generously.
COLUMN_BYTES = ENTRY_BYTES + 8 * BLOCK_BYTES


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A column that is to be opened.

    Attributes:
        key: hex digest of all that the values depend on.
        dtype: of the numbers.
        shape: of a row.
        about: words for people.
    """

    key: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    about: Mapping[str, Any]


def open_columns(
    store: Store, wanted: Sequence[Wanted], *, rows: int, shard_rows: int, spare_bytes: int
) -> dict[str, Column]:
    """Open columns that are looked up together.

    Args:
        store: where they are.
        wanted: each key once.
        rows: samples of the data set.
        shard_rows: samples of a shard.
        spare_bytes: of the budget, to be left to others.

    Returns:
        The columns by key; those that fit in part keep about as many samples each.

    Raises:
        StoreError: not a single shard of each has room, or the folder cannot be written.
    """
    most = rows
    if len(wanted) > 1 or spare_bytes:
        shard_bytes = sum(
            shard_rows * (one_bytes := row_bytes(one.dtype, one.shape)) + shard_rows * one_bytes // EXTENTS + LINE_BYTES
            for one in wanted
        )
        room_bytes = store.room_bytes(besides=[one.key for one in wanted]) - spare_bytes - COLUMN_BYTES * len(wanted)
        shards = max(0, room_bytes) // max(1, shard_bytes)
        if shards == 0:
            raise StoreError(
                f"store {store.folder}",
                found=f"no room for {show_size(shard_bytes)} beside what other processes use",
                do="raise the budget, or make room on the disk",
            )
        most = min(rows, shards * shard_rows)
    columns: dict[str, Column] = {}
    for one in wanted:
        columns[one.key] = store.column(
            one.key,
            dtype=one.dtype,
            shape=one.shape,
            rows=rows,
            shard_rows=shard_rows,
            about=one.about,
            most_rows=min([most, *(column.stored_rows for column in columns.values())]),
        )
    return columns
