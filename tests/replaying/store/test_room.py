"""Room is asked for together, before anything makes it; where nothing comes of it, nothing stays."""

import pytest
import torch

from frostline.errors import StoreError
from frostline.replaying.recording.opening import Wanted, open_all
from frostline.replaying.store import Store

ROWS, SHARD_ROWS = 100, 10


def wanted(*keys, width=1000):
    return [Wanted(key=key, dtype=torch.uint8, shape=(width,), about={}) for key in keys]


def opened(store, *keys, items_key="i", label_bytes=10, width=1000):
    return open_all(
        store,
        wanted(*keys, width=width),
        items_key=items_key,
        about={},
        rows=ROWS,
        shard_rows=SHARD_ROWS,
        label_bytes=label_bytes,
    )


def record(items, columns):
    for shard in items.missing():
        items.write(shard, [0] * SHARD_ROWS)
    for column in columns.values():
        for shard in column.missing():
            column.write(shard, torch.zeros(SHARD_ROWS, *column.shape, dtype=torch.uint8))


def close(items, columns):
    for one in (items, *columns.values()):
        one.close()


def keys(folder):
    return sorted(entry.key for entry in Store(folder).entries())


def taken(folder):
    return sum(path.lstat().st_blocks * 512 for path in [folder, *folder.rglob("*")])


@pytest.fixture
def filled(tmp_path):
    """Give a folder whose entries other runs recorded, and will want again."""
    found = opened(Store(tmp_path, budget_bytes=10**7), "old")
    record(*found), close(*found)
    return tmp_path


def test_a_budget_too_small_evicts_nothing_and_leaves_nothing(filled):
    store = Store(filled, budget_bytes=100_000)
    with pytest.raises(StoreError, match="no room for") as caught:
        opened(store, "a", "b", items_key="j")
    assert keys(filled) == ["i", "old"]
    words = str(caught.value)
    assert "the budget of 100 kB has room for" in words
    assert "1.0 kB of labels, 20.2 kB for one batch" in words
    assert "other processes" not in words


def test_whom_the_room_is_shared_with_is_said(filled):
    used = opened(Store(filled, budget_bytes=10**7), "old")
    with pytest.raises(StoreError, match="beside what other processes use"):
        opened(Store(filled, budget_bytes=250_000), "a", "b", items_key="j")
    close(*used)


def test_nothing_makes_room_before_the_first_row_is_written(filled):
    store = Store(filled, budget_bytes=260_000)
    items, columns = opened(store, "a", items_key="j")
    assert keys(filled) == ["a", "i", "j", "old"]
    record(items, columns)
    assert keys(filled) == ["a", "j"]
    assert taken(filled) <= 260_000


def test_what_stayed_empty_goes_when_the_next_is_opened(filled):
    close(*opened(Store(filled, budget_bytes=10**7), "a", "b", items_key="j"))
    assert keys(filled) == ["a", "b", "i", "j", "old"]
    store = Store(filled, budget_bytes=10**7)
    kept = store.items("k", rows=1, shard_rows=1, about={})
    assert keys(filled) == ["i", "k", "old"]
    store.remove_empty()  # not what is in use
    assert keys(filled) == ["i", "k", "old"]
    kept.close()
    store.remove_empty()
    assert keys(filled) == ["i", "old"]


def test_an_error_midway_leaves_nothing(filled):
    store = Store(filled, budget_bytes=10**7)
    other = [Wanted(key="old", dtype=torch.int64, shape=(3,), about={})]
    with pytest.raises(StoreError, match="it holds column"):
        open_all(
            store, [*wanted("a"), *other], items_key="j", about={}, rows=ROWS, shard_rows=SHARD_ROWS, label_bytes=1
        )
    assert keys(filled) == ["i", "old"]


def test_labels_are_given_the_room_that_they_take_in_the_mean(tmp_path):
    # Labels of 4 kB in the mean take 400 kB; twice as much is not there.
    store = Store(tmp_path, budget_bytes=800_000)
    items, columns = opened(store, "a", label_bytes=4000)
    assert (items.stored_rows, columns["a"].stored_rows) == (ROWS, ROWS)
    for shard in items.missing():
        items.write(shard, ["n" * 80 * row for row in range(shard * SHARD_ROWS, (shard + 1) * SHARD_ROWS)])
    record(items, columns)
    assert taken(tmp_path) <= 800_000


def test_several_columns_keep_as_many_samples(tmp_path):
    store = Store(tmp_path, budget_bytes=1_500_000)
    _, columns = opened(store, "a", "b", width=10_000)
    kept = {column.stored_rows for column in columns.values()}
    assert len(kept) == 1
    assert 0 < kept.pop() < ROWS
