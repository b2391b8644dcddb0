"""Opening columns: several of them share what the budget has room for, so that all keep the same samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from frostline.replaying.store import Store, show_size
from frostline.replaying.store.columns import Column, row_bytes
from frostline.replaying.store.entries import BLOCK_BYTES, ENTRY_BYTES, LINE_BYTES
from frostline.replaying.store.folder import VALUE_BYTES
from frostline.replaying.store.items import Items
from frostline.replaying.store.planning import EXTENTS

# Folder, description and journal of an entry, generously.
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


def sample_room(store: Store, *, rows: int) -> float:
    """Give about how many bytes of one column the budget has for each of so many samples, beside their labels."""
    return (store.budget_bytes - 2 * COLUMN_BYTES) / rows - VALUE_BYTES


def open_all(
    store: Store,
    wanted: Sequence[Wanted],
    *,
    items_key: str,
    about: Mapping[str, Any],
    rows: int,
    shard_rows: int,
    label_bytes: int,
) -> tuple[Items, dict[str, Column]]:
    """Open what is looked up together: the labels of all samples, then the columns, as far as the budget has room.

    Args:
        store: where they are.
        wanted: the columns, each key once.
        items_key: of the labels.
        about: words for people about the labels.
        rows: samples of the data set.
        shard_rows: samples of a shard, where they are new.
        label_bytes: what a sample's labels take as text, in the mean.

    Returns:
        The labels, and the columns by key; those that fit in part keep about as many samples each.

    Raises:
        StoreError: the labels and a shard of each column have no room together, and then nothing made room for them;
            or the folder cannot be written.
    """
    # The mean of a few samples, and those of others may be longer.
    value_bytes = max(VALUE_BYTES, label_bytes * 5 // 4)
    shard_rows = min(rows, shard_rows)
    if store.writable:
        labels_bytes = rows * value_bytes + rows * value_bytes // EXTENTS + rows // shard_rows * LINE_BYTES
        batch_bytes = _shard_bytes(wanted, shard_rows)
        needed_bytes = labels_bytes + batch_bytes + COLUMN_BYTES * (len(wanted) + 1)
        held = f"{show_size(rows * label_bytes)} of labels, {show_size(batch_bytes)} for one batch"
        store.check_room(needed_bytes, besides=[items_key, *(one.key for one in wanted)], holds=held)
    opened: list[Items | Column] = []
    try:
        items = store.items(items_key, rows=rows, shard_rows=shard_rows, about=about, value_bytes=value_bytes)
        opened.append(items)
        columns = open_columns(store, wanted, rows=rows, shard_rows=items.shard_rows)
    except BaseException:
        for one in opened:
            one.close()
        store.remove_empty()
        raise
    return items, columns


def open_columns(store: Store, wanted: Sequence[Wanted], *, rows: int, shard_rows: int) -> dict[str, Column]:
    """Open columns that are looked up together.

    Args:
        store: where they are.
        wanted: each key once.
        rows: samples of the data set.
        shard_rows: samples of a shard.

    Returns:
        The columns by key; those that fit in part keep about as many samples each.

    Raises:
        StoreError: not a single shard of each has room, or the folder cannot be written.
    """
    most = rows
    if len(wanted) > 1 and store.writable:
        beside_bytes = COLUMN_BYTES * len(wanted)
        shard_bytes = max(1, _shard_bytes(wanted, shard_rows))
        held = f"{show_size(shard_bytes)} for one batch"
        room_bytes = store.check_room(beside_bytes + shard_bytes, besides=[one.key for one in wanted], holds=held)
        most = min(rows, (room_bytes - beside_bytes) // shard_bytes * shard_rows)
    columns: dict[str, Column] = {}
    try:
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
    except BaseException:
        for column in columns.values():
            column.close()
        raise
    return columns


def _shard_bytes(wanted: Sequence[Wanted], shard_rows: int) -> int:
    """Give what one shard of each takes."""
    each = [shard_rows * row_bytes(one.dtype, one.shape) for one in wanted]
    return sum(size_bytes + size_bytes // EXTENTS + LINE_BYTES for size_bytes in each)
