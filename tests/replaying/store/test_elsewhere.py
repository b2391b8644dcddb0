"""A store that is not as it was made: removed while it is used, a link to another disk, one that is only read."""

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch

from frostline.errors import StoreError
from frostline.replaying.recording.opening import Wanted, open_all
from frostline.replaying.store import Store, locks
from frostline.replaying.store.columns import DamagedError

ROWS, SHARD_ROWS = 20, 5


def opened(folder):
    wanted = [Wanted(key=key, dtype=torch.int16, shape=(4,), about={}) for key in "cd"]
    store = Store(folder, budget_bytes=10**7)
    items, columns = open_all(store, wanted, items_key="i", about={}, rows=ROWS, shard_rows=SHARD_ROWS, label_bytes=10)
    return items, *columns.values()


def recorded(folder):
    items, *columns = opened(folder)
    for shard in items.missing():
        items.write(shard, [shard] * SHARD_ROWS)
        for column in columns:
            column.write(shard, torch.full((SHARD_ROWS, 4), shard, dtype=torch.int16))
    return items, *columns


def close(every):
    for one in every:
        one.close()


def test_a_store_that_is_removed_while_it_is_used_is_one_line(tmp_path):
    items, column, _ = recorded(tmp_path / "s")
    first = column.read(torch.tensor([0]))
    shutil.rmtree(tmp_path / "s")
    assert torch.equal(column.read(torch.tensor([0])), first)  # its file lives as long as it is open
    with pytest.raises(DamagedError):
        column.read(torch.tensor([7]))
    with pytest.raises(DamagedError):
        items.read(0)
    assert column.missing() == items.missing() == [0, 1, 2, 3]
    with pytest.raises(StoreError, match="written or read"):
        column.write(0, torch.zeros(SHARD_ROWS, 4, dtype=torch.int16))
    with pytest.raises(StoreError, match="written or read"):
        items.write(0, [0] * SHARD_ROWS)
    # Now a file stands there.
    shutil.rmtree(tmp_path / "s", ignore_errors=True)
    (tmp_path / "s").write_text("mine")
    assert column.missing() == items.missing() == [0, 1, 2, 3]
    with pytest.raises(StoreError, match="written or read"):
        column.write(0, torch.zeros(SHARD_ROWS, 4, dtype=torch.int16))
    close((items, column))
    assert (tmp_path / "s").read_text() == "mine"


def test_a_file_that_cannot_be_made_whole_counts_as_damaged(tmp_path, monkeypatch):
    _, column, _ = recorded(tmp_path)
    os.truncate(tmp_path / "c" / "rows.bin", 30)

    def full(handle, length):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "ftruncate", full)
    with pytest.raises(DamagedError):
        column.read(torch.tensor([19]))
    with pytest.raises(StoreError, match="no room on the disk"):
        column.write(3, torch.zeros(SHARD_ROWS, 4, dtype=torch.int16))


def test_an_entry_that_lies_elsewhere_is_used_and_removed_with_its_link(tmp_path):
    close(recorded(tmp_path / "s"))
    shutil.move(tmp_path / "s" / "c", tmp_path / "other")
    (tmp_path / "s" / "c").symlink_to(tmp_path / "other")
    (tmp_path / "s" / "nowhere").symlink_to("/nowhere")
    (tmp_path / "s" / "loop").symlink_to(tmp_path / "s" / "loop")
    every = opened(tmp_path / "s")
    assert [one.missing() for one in every] == [[], [], []]
    close(every)
    store = Store(tmp_path / "s")
    assert sorted(entry.key for entry in store.remove("icd")) == ["c", "d", "i"]
    assert store.entries() == []
    assert not (tmp_path / "other").exists()
    assert not (tmp_path / "s" / "c").is_symlink()


def read_only(monkeypatch):
    """Make the operating system refuse to write, as on a disk that is only read: root may write what others may not."""
    opening, access = os.open, os.access

    def refusing(path, flags, *more, **named):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opening(path, flags, *more, **named)

    def refused(path, *words, **named):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "open", refusing)
    monkeypatch.setattr(os, "utime", refused)
    monkeypatch.setattr(os, "unlink", refused)
    monkeypatch.setattr(Path, "unlink", refused)
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK and access(path, mode))


def test_what_is_complete_on_a_disk_that_is_only_read_is_used(tmp_path, monkeypatch):
    close(recorded(tmp_path))
    with monkeypatch.context() as patched:
        read_only(patched)
        items, column, _ = every = opened(tmp_path)
        assert [one.missing() for one in every] == [[], [], []]
        assert items.read(19) == column.read(torch.tensor([19]))[0, 0] == 3
        assert [entry.in_use for entry in Store(tmp_path).entries()] == [True] * 3
        close(every)
        store = Store(tmp_path)
        with pytest.raises(StoreError, match="Read-only file system"):
            store.remove(["c"])
        with pytest.raises(StoreError, match="Read-only file system"):
            store.items("new", rows=1, shard_rows=1, about={})
        with pytest.raises(StoreError, match="Read-only file system"), store.recording(["c"]):
            pass


def test_what_is_missing_on_a_disk_that_is_only_read_is_one_line(tmp_path, monkeypatch):
    close(recorded(tmp_path))
    (tmp_path / "c" / "journal").unlink()
    with monkeypatch.context() as patched:
        read_only(patched)
        _, column, _ = opened(tmp_path)
        assert column.missing() == [0, 1, 2, 3]
        with pytest.raises(StoreError, match="Read-only file system"):
            column.write(0, torch.zeros(SHARD_ROWS, 4, dtype=torch.int16))


def test_a_file_that_may_only_be_read_can_be_locked(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    read_only(monkeypatch)
    one, other = locks.FileLock(tmp_path / "file"), locks.FileLock(tmp_path / "file")
    assert one.try_alone()
    assert not other.try_alone()
    with pytest.raises(OSError, match="Read-only"):
        locks.FileLock(tmp_path / "new")


def test_a_folder_that_may_not_be_searched_is_one_line(tmp_path, monkeypatch):
    def refused(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "exists", refused)
    store = Store(tmp_path / "s", budget_bytes=10**6)
    for ask in (store.entries, lambda: store.remove(["a"]), lambda: store.evict(to_bytes=0)):
        with pytest.raises(StoreError, match="written or read \\(Permission denied\\)"):
            ask()
