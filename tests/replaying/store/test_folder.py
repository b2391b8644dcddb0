"""The store: where it is, what it may take, and whom it evicts."""

import os
from pathlib import Path

import pytest
import torch

from frostline.errors import StoreError
from frostline.replaying.store import Store, budget, default_folder
from frostline.replaying.store.budget import Disk, Ledger, default_budget
from frostline.replaying.store.entries import Entry, Meta

ROW_BYTES = 10_000
SHARD_ROWS = 10
ROWS = 100


def taken(folder: Path) -> int:
    """Count what a folder takes on the disk, itself included."""
    return sum(path.lstat().st_blocks * 512 for path in [folder, *folder.rglob("*")])


def column(store, key, rows=ROWS, **asked):
    asked = {"dtype": torch.uint8, "shape": (ROW_BYTES,), "shard_rows": SHARD_ROWS, "about": {}, **asked}
    return store.column(key, rows=rows, **asked)


def fill(made):
    for shard in made.missing():
        count = min(SHARD_ROWS, made.rows - shard * SHARD_ROWS)
        made.write(shard, torch.full((count, ROW_BYTES), shard, dtype=torch.uint8))
    return made


def keys(entries):
    return [entry.key for entry in entries]


def age(store, *named):
    """Make some entries old, the first of them the oldest."""
    for place, key in enumerate(named):
        os.utime(store.folder / key / "in-use", (1000 + place, 1000 + place))


def test_the_default_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("FROSTLINE_STORE", raising=False)
    assert default_folder() == tmp_path / ".cache/frostline/store"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_folder() == tmp_path / "cache/frostline/store"
    monkeypatch.setenv("FROSTLINE_STORE", str(tmp_path / "here"))
    assert default_folder() == Store().folder == tmp_path / "here"
    assert not (tmp_path / "here").exists()


def test_looking_makes_no_folder(tmp_path):
    store = Store(tmp_path / "nowhere")
    assert (store.entries(), store.remove(["a"]), store.evict(to_bytes=0)) == ([], (), ())
    assert store.budget_bytes > 0
    assert not store.folder.exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        for ask in (
            lambda store: column(store, "a"),
            lambda store: store.items("a", rows=1, shard_rows=1, about={}),
            lambda store: store.recording(["a"]).__enter__(),
            lambda store: store.room_bytes(),
        ):
            with pytest.raises(StoreError, match="it cannot be written") as caught:
                ask(Store(folder, budget_bytes=10**8))
            assert str(caught.value).startswith(f"store {folder}: ")
            assert "FROSTLINE_STORE" in str(caught.value)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("key", ["", "../a", "a/b", "lock", "recording", "a b"])
def test_what_is_no_key_is_refused(tmp_path, key):
    with pytest.raises(ValueError, match="no key"):
        column(Store(tmp_path), key)


def test_the_default_budget_is_half_of_what_the_disk_has_for_it():
    disk = Disk(free_bytes=6 * 10**9, spare_bytes=0)
    assert default_budget(disk, 0) == 3 * 10**9
    # As it fills up, the budget stays.
    assert default_budget(Disk(free_bytes=4 * 10**9, spare_bytes=0), 2 * 10**9) == 3 * 10**9
    assert default_budget(Disk(free_bytes=10**12, spare_bytes=0), 0) == 20 * 10**9


@pytest.mark.parametrize("budget_bytes", [300_000, 500_000, 777_777, 1_000_000])
def test_of_a_column_that_does_not_fit_a_prefix_is_kept(tmp_path, budget_bytes):
    store = Store(tmp_path, budget_bytes=budget_bytes)
    half = fill(column(store, "a"))
    assert 0 < half.stored_rows < ROWS
    assert half.stored_rows % SHARD_ROWS == 0
    assert half.stored_rows * ROW_BYTES > budget_bytes - 200_000
    assert taken(tmp_path) <= budget_bytes
    assert half.missing() == []
    with pytest.raises(ValueError, match="shard"):
        half.write(half.stored_rows // SHARD_ROWS, torch.zeros(SHARD_ROWS, ROW_BYTES, dtype=torch.uint8))
    with pytest.raises(IndexError):
        half.read(torch.tensor([half.stored_rows]))
    last = half.stored_rows - 1
    assert half.read(torch.tensor([last]))[0, 0] == last // SHARD_ROWS


def test_the_budget_is_shared_by_all_columns_in_use(tmp_path):
    store = Store(tmp_path, budget_bytes=2_000_000)
    first = column(store, "a")
    second = column(Store(tmp_path, budget_bytes=2_000_000), "b")  # nothing is written yet, and the first has its claim
    assert first.stored_rows == ROWS
    assert 0 < second.stored_rows < ROWS
    fill(first), fill(second)
    assert taken(tmp_path) <= 2_000_000
    with pytest.raises(StoreError, match="no room for") as caught:
        column(store, "c")
    assert "the budget of 2.0 MB" in str(caught.value)
    assert not (tmp_path / "c").exists()
    assert keys(store.entries()) == ["a", "b"]


def test_room_is_what_remains_beside_what_is_in_use(tmp_path):
    store = Store(tmp_path, budget_bytes=3_000_000)
    before = store.room_bytes()
    assert 2_900_000 < before <= 3_000_000
    first = fill(column(store, "a"))
    assert store.room_bytes() < before - ROWS * ROW_BYTES
    assert store.room_bytes(besides=["a"]) == pytest.approx(before, abs=10_000)
    first.close()
    assert store.room_bytes() == pytest.approx(before, abs=10_000)


def test_what_fits_into_the_room_is_kept_whole(tmp_path):
    store = Store(tmp_path, budget_bytes=1_500_000)
    most = (store.room_bytes() - 2 * 60_000) // (2 * ROW_BYTES) // SHARD_ROWS * SHARD_ROWS
    both = [column(store, key, most_rows=most) for key in "ab"]
    assert [one.stored_rows for one in both] == [most, most]
    assert taken(tmp_path) <= 1_500_000


def test_the_least_recently_used_make_room(tmp_path):
    store = Store(tmp_path, budget_bytes=3_500_000)
    for key in "abc":
        fill(column(store, key)).close()
    age(store, "b", "c", "a")
    new = fill(column(store, "d"))
    assert new.stored_rows == ROWS
    assert keys(store.entries()) == ["c", "a", "d"]
    assert taken(tmp_path) <= 3_500_000


def test_eviction_never_takes_what_is_in_use(tmp_path):
    store = Store(tmp_path, budget_bytes=3_500_000)
    kept = fill(column(store, "a"))
    for key in "bc":
        fill(column(store, key)).close()
    age(store, "a", "b", "c")
    other = fill(column(store, "d", rows=2 * ROWS))
    assert keys(store.entries()) == ["a", "d"]
    assert torch.equal(kept.read(torch.tensor([99])), torch.full((1, ROW_BYTES), 9, dtype=torch.uint8))
    assert keys(store.remove(["a", "d"])) == []
    assert store.evict(to_bytes=0) == ()
    kept.close()
    assert keys(store.evict(to_bytes=0)) == ["a"]
    other.close()
    assert keys(store.remove(["d"])) == ["d"]


def test_a_column_that_is_opened_is_not_evicted_for_itself(tmp_path):
    store = Store(tmp_path, budget_bytes=1_200_000)
    fill(column(store, "a")).close()
    again = column(store, "a")
    assert (again.stored_rows, again.missing()) == (ROWS, [])


def test_nothing_is_evicted_where_that_would_not_help(tmp_path):
    store = Store(tmp_path, budget_bytes=1_500_000)
    fill(column(store, "a")).close()
    with pytest.raises(StoreError, match="no room for"):
        column(store, "b", shape=(200_000,))
    assert keys(store.entries()) == ["a"]


def test_a_smaller_budget_cuts_a_column_and_a_larger_one_gives_the_rest_back(tmp_path):
    fill(column(Store(tmp_path, budget_bytes=2_000_000), "a")).close()
    small = column(Store(tmp_path, budget_bytes=600_000), "a")
    kept = small.stored_rows
    assert 0 < kept < ROWS
    assert small.missing() == []
    assert taken(tmp_path) <= 600_000
    # Another that opens it meanwhile knows the same rows, whatever its budget.
    other = column(Store(tmp_path, budget_bytes=2_000_000), "a")
    assert other.stored_rows == kept
    other.close(), small.close()
    whole = column(Store(tmp_path, budget_bytes=2_000_000), "a")
    assert whole.stored_rows == ROWS
    assert whole.missing() == list(range(kept // SHARD_ROWS, ROWS // SHARD_ROWS))
    fill(whole)
    assert torch.equal(whole.read(torch.arange(0, ROWS, SHARD_ROWS))[:, 0], torch.arange(10, dtype=torch.uint8))


def test_fewer_rows_on_demand_cut_nothing_off(tmp_path):
    store = Store(tmp_path, budget_bytes=2_000_000)
    few = fill(column(store, "a", most_rows=35))
    assert few.stored_rows == 30
    few.close()
    assert fill(column(store, "a")).stored_rows == ROWS
    assert column(store, "a", most_rows=20).stored_rows == ROWS


def test_what_a_killed_process_left_without_description_is_begun_anew(tmp_path):
    store = Store(tmp_path, budget_bytes=2_000_000)
    fill(column(store, "a")).close()
    (tmp_path / "a" / ".column.json.x1y2").write_text("{")
    (tmp_path / "a" / "column.json").write_text('{"format": 1, "rows"')
    (entry,) = store.entries()
    assert (entry.meta, entry.complete, entry.recorded_rows) == (None, False, 0)
    again = column(store, "a")
    assert again.missing() == list(range(10))
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["column.json", "in-use", "rows.bin"]


def test_what_is_not_the_stores_is_left_alone(tmp_path):
    store = Store(tmp_path, budget_bytes=2_000_000)
    fill(column(store, "a")).close()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "column.json").write_text("{}")
    (tmp_path / "a" / "note.txt").write_text("mine")
    assert keys(store.entries()) == ["a"]
    assert keys(store.evict(to_bytes=0)) == ["a"]
    assert store.remove(["photos"]) == ()
    assert (tmp_path / "photos" / "column.json").exists()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["note.txt"]
    assert store.entries() == []


def test_entries_say_what_is_there(tmp_path):
    store = Store(tmp_path, budget_bytes=2_000_000)
    part = column(store, "a", rows=25, about={"network": "resnet18"})
    part.write(2, torch.zeros(5, ROW_BYTES, dtype=torch.uint8))
    (entry,) = store.entries()
    assert (entry.recorded_rows, entry.complete, entry.in_use) == (5, False, True)
    assert entry.meta.about == {"network": "resnet18"}
    assert entry.size_bytes == taken(tmp_path / "a")
    fill(part).close()
    (entry,) = store.entries()
    assert (entry.recorded_rows, entry.complete, entry.in_use) == (25, True, False)


def entry(key, size_bytes, *, claim_bytes=0, in_use=False, used=0.0):
    meta = Meta(key=key, kind="column", rows=1, shard_rows=1, stored_rows=1, claim_bytes=claim_bytes, about={})
    return Entry(folder=Path(key), meta=meta, recorded_rows=1, size_bytes=size_bytes, used=used, in_use=in_use)


def test_a_disk_that_is_nearly_full_has_less_room_than_the_budget():
    entries = [entry("a", 30, claim_bytes=50, in_use=True), entry("b", 10), entry("c", 5, used=-1.0)]
    ledger = Ledger(entries, budget_bytes=1000, fixed_bytes=0, disk=Disk(free_bytes=100, spare_bytes=7))
    # 93 free, of which `a` will still take 20; `b` and `c` may give back what they have.
    assert ledger.room_bytes(besides=(), evicting=False) == 73
    assert ledger.room_bytes(besides=(), evicting=True) == 88
    assert ledger.room_bytes(besides=("a",), evicting=False) == 123
    removed = []
    ledger.evict(10**6, besides="c", remove=removed.append)
    assert keys(removed) == ["b"]  # neither what is in use, nor what the room is for
    ledger = Ledger(entries, budget_bytes=1000, fixed_bytes=0, disk=Disk(free_bytes=100, spare_bytes=7))
    removed.clear()
    ledger.evict(78, besides="x", remove=removed.append)
    assert keys(removed) == ["c"]
    ledger.evict(85, besides="x", remove=removed.append)
    assert keys(removed) == ["c", "b"]


def test_some_of_the_disk_is_left_alone(tmp_path):
    disk = Disk.of(tmp_path / "not" / "yet")
    assert disk.free_bytes > 0
    assert 0 < disk.spare_bytes <= budget.SPARE_BYTES
