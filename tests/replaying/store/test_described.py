"""The description of an entry is not believed: what is not as it was written is recorded again."""

import json

import pytest
import torch

from frostline.errors import StoreError
from frostline.replaying.store import Store
from frostline.replaying.store.entries import Meta, read_meta

ROWS, SHARD_ROWS = 40, 8


def opened(folder):
    store = Store(folder, budget_bytes=10**7)
    about = {"network": "Réseau", 3: None}
    return (
        store.column("c", dtype=torch.int16, shape=(4, 1), rows=ROWS, shard_rows=SHARD_ROWS, about=about),
        store.items("i", rows=ROWS, shard_rows=SHARD_ROWS, about=about),
    )


def recorded(folder):
    column, items = opened(folder)
    for shard in column.missing():
        column.write(shard, torch.full((SHARD_ROWS, 4, 1), shard, dtype=torch.int16))
    for shard in items.missing():
        items.write(shard, [shard] * SHARD_ROWS)
    return column, items


def close(both):
    for one in both:
        one.close()


def test_a_description_comes_back_however_it_is_laid_out(tmp_path):
    close(recorded(tmp_path))
    meta = read_meta(tmp_path / "c")
    assert (meta.shape, meta.stored_rows, meta.about) == ((4, 1), ROWS, {"network": "Réseau", "3": None})
    description = tmp_path / "c" / "column.json"
    description.write_text(json.dumps(json.loads(description.read_text()), sort_keys=True, ensure_ascii=False))
    assert read_meta(tmp_path / "c") == meta


@pytest.mark.parametrize("key", ["c", "i"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shard_rows", 0),
        ("shard_rows", 4),
        ("stored_rows", "40"),
        ("stored_rows", 32),
        ("rows", 48),
        ("about", None),
        ("about", "x"),
        ("key", "../x"),
        ("kind", 3),
        ("dtype", "int32"),
        ("shape", [2, 2]),
        ("format", 1),
        ("checksum", None),
        ("more", 1),
    ],
)
def test_one_changed_word_is_found_and_mended(tmp_path, key, name, value):
    close(recorded(tmp_path))
    description = tmp_path / key / "column.json"
    description.write_text(json.dumps({**json.loads(description.read_text()), name: value}))
    store = Store(tmp_path, budget_bytes=10**7)
    assert [entry.meta is None for entry in store.entries() if entry.key == key] == [True]
    column, items = both = opened(tmp_path)
    assert (column if key == "c" else items).missing() == list(range(5))
    assert (items if key == "c" else column).missing() == []
    close(both)
    column, items = recorded(tmp_path)
    assert column.read(torch.tensor([39]))[0, 0] == 4
    assert items.read(39) == 4


@pytest.mark.parametrize("content", [b"", b"[]", b"5", b"null", b'{"checksum": 3}', b"\xff\xfe", b"[" * 10**5])
def test_what_is_no_description_counts_as_none(tmp_path, content):
    close(recorded(tmp_path))
    (tmp_path / "c" / "column.json").write_bytes(content)
    assert read_meta(tmp_path / "c") is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rows", True),
        ("rows", 39.0),
        ("shard_rows", 0),
        ("stored_rows", 0),
        ("stored_rows", 41),
        ("stored_rows", 12),
        ("claim_bytes", -1),
        ("shape", (1, "1")),
        ("dtype", 5),
        ("kind", "rows"),
        ("about", [1]),
    ],
)
def test_numbers_that_cannot_be_are_no_description(name, value):
    meta = {"rows": ROWS, "shard_rows": SHARD_ROWS, "stored_rows": ROWS, "claim_bytes": 1, "about": {}}
    assert Meta(key="c", kind="column", dtype="int16", shape=(4,), **meta).sound
    assert not Meta(**{"key": "c", "kind": "column", "dtype": "int16", "shape": (4,), **meta, name: value}).sound


def test_an_entry_under_another_name_is_none(tmp_path):
    close(recorded(tmp_path))
    (tmp_path / "c").rename(tmp_path / "d")
    assert read_meta(tmp_path / "d") is None


def test_a_damaged_description_in_use_is_left_to_its_user(tmp_path):
    _, items = recorded(tmp_path)
    (tmp_path / "i" / "column.json").write_text("{}")
    with pytest.raises(StoreError, match="its description is damaged, and another process uses it"):
        opened(tmp_path)
    assert items.read(39) == 4
    items.close()
    assert opened(tmp_path)[1].missing() == list(range(5))
