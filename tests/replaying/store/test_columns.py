"""Columns: what was written is read, whatever the type; what was damaged is found, and recorded again."""

import errno
import os
import pickle
import zlib

import pytest
import torch

from frostline.errors import StoreError
from frostline.replaying.store import Store
from frostline.replaying.store.columns import Column, DamagedError

KEY = "c0ffee" * 10
ROWS, SHARD_ROWS = 50, 8
DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
]


def values(dtype=torch.float32, shape=(3, 5)):
    generator = torch.Generator().manual_seed(7)
    numbers = torch.randn((ROWS, *shape), generator=generator) * 9
    return numbers > 0 if dtype == torch.bool else numbers.abs().to(dtype)


def open_column(folder, dtype=torch.float32, shape=(3, 5), **asked) -> Column:
    asked = {"rows": ROWS, "shard_rows": SHARD_ROWS, "about": {}, **asked}
    return Store(folder, budget_bytes=10**9).column(KEY, dtype=dtype, shape=shape, **asked)


def record(column, rows_NS, shards=None):
    for shard in column.missing() if shards is None else shards:
        column.write(shard, rows_NS[shard * SHARD_ROWS : (shard + 1) * SHARD_ROWS])


@pytest.fixture
def column(tmp_path):
    made = open_column(tmp_path)
    record(made, values())
    return made


def file_of(tmp_path, name="rows.bin"):
    return tmp_path / KEY / name


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 1, 4)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_was_written_is_read_in_any_order(tmp_path, dtype, shape):
    expected = values(dtype, shape)
    made = open_column(tmp_path, dtype, shape)
    assert made.missing() == [0, 1, 2, 3, 4, 5, 6]
    record(made, expected)
    rows = torch.tensor([49, 0, 7, 8, 8, 31, 0])
    for column in (made, open_column(tmp_path, dtype, shape)):
        assert column.missing() == []
        found = column.read(rows)
        assert found.dtype == dtype
        assert torch.equal(found, expected[rows])
        assert torch.equal(column.read(torch.arange(ROWS)), expected)


def test_the_file_is_the_rows_and_nothing_else(tmp_path, column):
    assert file_of(tmp_path).read_bytes() == b"".join(row.numpy().tobytes() for row in values())
    assert column.stored_rows == ROWS


def test_a_tensor_that_does_not_lie_in_order_is_written_in_order(tmp_path):
    made = open_column(tmp_path)
    expected = values()
    turned = expected.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert not turned.is_contiguous()
    record(made, turned)
    assert torch.equal(made.read(torch.arange(ROWS)), expected)


def test_a_result_changed_in_place_leaves_the_file(tmp_path, column):
    before = file_of(tmp_path).read_bytes()
    for rows in (torch.arange(ROWS), torch.tensor([3])):
        column.read(rows).zero_()
    assert file_of(tmp_path).read_bytes() == before
    assert torch.equal(column.read(torch.tensor([3])), values()[3:4])


def test_no_rows_are_read_as_none(column):
    assert column.read(torch.empty(0, dtype=torch.int64)).shape == (0, 3, 5)


@pytest.mark.parametrize("row", [-1, ROWS])
def test_a_row_that_is_not_there_is_an_error(column, row):
    with pytest.raises(IndexError, match="of 50 that are kept"):
        column.read(torch.tensor([0, row]))


@pytest.mark.parametrize(
    ("shard", "rows"),
    [
        (7, torch.zeros(8, 3, 5)),
        (-1, torch.zeros(8, 3, 5)),
        (0, torch.zeros(7, 3, 5)),
        (6, torch.zeros(8, 3, 5)),
        (0, torch.zeros(8, 5, 3)),
        (0, torch.zeros(8, 3, 5).double()),
    ],
    ids=["no such shard", "a negative one", "too few", "too many", "another shape", "another type"],
)
def test_rows_that_do_not_belong_there_are_refused(tmp_path, shard, rows):
    made = open_column(tmp_path)
    with pytest.raises(ValueError, match=f"shard {shard}"):
        made.write(shard, rows)
    assert len(made.missing()) == 7


def test_rows_that_nobody_recorded_are_not_read(tmp_path):
    made = open_column(tmp_path)
    record(made, values(), [0, 2])
    assert torch.equal(made.read(torch.tensor([1, 17])), values()[[1, 17]])
    with pytest.raises(DamagedError) as caught:
        made.read(torch.tensor([49, 1, 9]))
    assert caught.value.shards == (1, 6)


def test_a_flipped_byte_is_found_and_mended(tmp_path, column):
    good = file_of(tmp_path).read_bytes()
    place = 3 * SHARD_ROWS * 60 + 17
    with file_of(tmp_path).open("r+b") as file:
        file.seek(place)
        file.write(bytes([good[place] ^ 1]))
    column.close()
    again = open_column(tmp_path)
    assert torch.equal(again.read(torch.tensor([0, 40])), values()[[0, 40]])
    with pytest.raises(DamagedError) as caught:
        again.read(torch.tensor([0, 3 * SHARD_ROWS]))
    assert caught.value.shards == (3,)
    assert again.missing() == [3]
    assert open_column(tmp_path).missing() == [3]  # the others know it too
    record(again, values())
    assert torch.equal(again.read(torch.arange(ROWS)), values())
    assert file_of(tmp_path).read_bytes() == good


@pytest.mark.parametrize("left_bytes", [0, 1, 3 * SHARD_ROWS * 60 + 5], ids=["all", "nearly all", "the end"])
@pytest.mark.parametrize("live", [True, False], ids=["while it is open", "before it is opened"])
def test_a_file_that_was_cut_off_is_found_and_mended(tmp_path, column, left_bytes, live):
    good = file_of(tmp_path).read_bytes()
    assert torch.equal(column.read(torch.arange(ROWS)), values())
    if not live:
        column.close()
    os.truncate(file_of(tmp_path), left_bytes)
    again = column if live else open_column(tmp_path)
    lost = list(range(left_bytes // (SHARD_ROWS * 60), 7))
    with pytest.raises(DamagedError) as caught:
        again.read(torch.arange(ROWS))
    assert list(caught.value.shards) == again.missing() == lost
    record(again, values())
    assert torch.equal(again.read(torch.arange(ROWS)), values())
    assert file_of(tmp_path).read_bytes() == good


@pytest.mark.parametrize("torn_bytes", range(1, 22, 3))
def test_a_torn_last_line_of_the_journal_counts_for_nothing(tmp_path, column, torn_bytes):
    column.close()
    journal = file_of(tmp_path, "journal")
    os.truncate(journal, journal.stat().st_size - torn_bytes)
    again = open_column(tmp_path)
    assert again.missing() == [6]
    # What comes next is not spoiled by the torn line before it.
    record(again, values())
    for one in (again, open_column(tmp_path)):
        assert one.missing() == []
        assert torch.equal(one.read(torch.arange(ROWS)), values())


def test_a_damaged_line_of_the_journal_counts_for_nothing(tmp_path, column):
    column.close()
    journal = file_of(tmp_path, "journal")
    content = journal.read_bytes()
    lines = content.split(b"\n\n")
    assert len(lines) == 7
    lines[5] = lines[5].replace(b"5 ", b"2 ", 1)
    journal.write_bytes(b"\n\n".join(lines))
    again = open_column(tmp_path)
    assert again.missing() == [5]
    assert torch.equal(again.read(torch.tensor([17])), values()[17:18])


def test_the_checksum_is_that_of_zlib(tmp_path, column):
    lines = [line.split() for line in file_of(tmp_path, "journal").read_text().split("\n") if line]
    content = file_of(tmp_path).read_bytes()
    for shard, _, checksum in lines:
        start = int(shard) * SHARD_ROWS * 60
        assert int(checksum, 16) == zlib.crc32(content[start : start + SHARD_ROWS * 60])


def test_another_process_that_recorded_since_is_seen(tmp_path):
    mine, theirs = open_column(tmp_path), open_column(tmp_path)
    record(mine, values(), [0])
    assert mine.missing() == theirs.missing() == [1, 2, 3, 4, 5, 6]
    record(theirs, values())
    assert torch.equal(mine.read(torch.arange(ROWS)), values())


def test_bytes_that_another_process_wrote_anew_are_no_damage(tmp_path):
    mine, theirs = open_column(tmp_path), open_column(tmp_path)
    record(mine, values())
    assert mine.missing() == []
    theirs.write(1, values()[SHARD_ROWS : 2 * SHARD_ROWS] + 1)
    assert torch.equal(mine.read(torch.tensor([SHARD_ROWS])), values()[SHARD_ROWS : SHARD_ROWS + 1] + 1)


def test_a_full_disk_is_one_line_and_nothing_half_journalled(tmp_path, monkeypatch):
    made = open_column(tmp_path)
    record(made, values(), [0])
    pwrite, calls = os.pwrite, []

    def full(handle, content, offset):
        calls.append(len(content))
        if len(calls) == 1:
            return pwrite(handle, content[:100], offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StoreError) as caught:
        record(made, values(), [1])
    monkeypatch.undo()
    assert len(calls) == 2
    text = str(caught.value)
    assert text.startswith(f"store {tmp_path}: no room on the disk for 480 B (No space left on device). make room")
    assert "frostline store prune" in text
    assert made.missing() == [1, 2, 3, 4, 5, 6]
    record(made, values())
    assert torch.equal(made.read(torch.arange(ROWS)), values())


def test_a_journal_that_has_no_room_leaves_the_shard_missing(tmp_path, monkeypatch):
    made = open_column(tmp_path)
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, content: write(handle, content[:5]))
    with pytest.raises(StoreError, match="No space left"):
        record(made, values(), [0])
    monkeypatch.undo()
    assert made.missing() == [0, 1, 2, 3, 4, 5, 6]
    record(made, values())
    assert open_column(tmp_path).missing() == []


def test_short_writes_are_gone_on_with(tmp_path, monkeypatch):
    made = open_column(tmp_path)
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, content, offset: pwrite(handle, content[:33], offset))
    record(made, values())
    assert torch.equal(made.read(torch.arange(ROWS)), values())


@pytest.mark.parametrize(
    "other",
    [{"dtype": torch.float16}, {"shape": (5, 3)}, {"rows": ROWS + 1}],
    ids=["another type", "another shape", "another number of rows"],
)
def test_another_column_of_that_key_is_an_error(tmp_path, column, other):
    with pytest.raises(StoreError, match=r"it holds column of float32 .* were asked for. remove it"):
        open_column(tmp_path, **other)
    assert column.missing() == []


def test_an_existing_column_keeps_its_shards(tmp_path, column):
    again = open_column(tmp_path, shard_rows=3)
    assert again.shard_rows == SHARD_ROWS
    assert again.missing() == []


def test_a_column_goes_to_another_process(column):
    again = pickle.loads(pickle.dumps(column))
    column.close()
    assert torch.equal(again.read(torch.arange(ROWS)), values())
    assert again.missing() == []


def test_a_closed_column_gives_nothing(column):
    column.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        column.read(torch.tensor([0]))
