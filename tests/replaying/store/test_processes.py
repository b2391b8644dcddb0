"""Several processes and one store: killed while recording, recording at once, waiting for each other; little memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..children import CHILDREN

START = """
import json, os, random, signal, sys, time, zlib
from pathlib import Path
import torch
from frostline.replaying.store.columns import DamagedError
from frostline.replaying.store import Store
torch.set_num_threads(1)
ROWS, SHARD_ROWS, WIDTH = 1003, 10, 6000
root = Path(sys.argv[1])

def open_both(folder):
    store = Store(folder, budget_bytes=10**9)
    both = (
        store.column("c", dtype=torch.int32, shape=(WIDTH,), rows=ROWS, shard_rows=SHARD_ROWS, about={}),
        store.items("i", rows=ROWS, shard_rows=SHARD_ROWS, about={}),
    )
    return store, *both

def of_shard(shard):
    rows = torch.arange(shard * SHARD_ROWS, min(ROWS, (shard + 1) * SHARD_ROWS))
    values = [(row, {"name": str(row)}) for row in rows.tolist()]
    return rows[:, None].int() * 7 + torch.arange(WIDTH, dtype=torch.int32), values

def record(column, items, shards):
    for shard in shards:
        rows, values = of_shard(shard)
        column.write(shard, rows)
        items.write(shard, values)

def missing(column, items):
    return sorted({*column.missing(), *items.missing()})

def right(column, items):
    for shard in set(range(101)) - set(missing(column, items)):
        rows, values = of_shard(shard)
        numbers = range(shard * SHARD_ROWS, shard * SHARD_ROWS + len(values))
        assert torch.equal(column.read(torch.tensor(numbers)), rows), shard
        assert [items.read(number) for number in numbers] == values, shard

def same_or_torn(found, expected):
    # A kill can tear a line where a page ends: what is left of it is the beginning of a line, and counts for nothing.
    found, expected = (content.split(b"\\n") for content in (found, expected))
    torn = [line for line in found if line not in set(expected)]
    return [line for line in found if line and line not in torn] == [line for line in expected if line] and all(
        any(line.startswith(part) for line in expected) for part in torn
    )
"""

KILLED = """
_, column, items = open_both(root / "undisturbed")
record(column, items, missing(column, items))
random.seed(3)
pwrite = os.pwrite

def slow(handle, content, offset):
    time.sleep(random.uniform(0, 0.0004))
    return pwrite(handle, content[:60_000], offset)

def complete(column, items):
    # No shard twice, though a kill came between the two.
    lacking = set(column.missing()), set(items.missing())
    for shard in range(101):
        rows, values = of_shard(shard)
        if shard in lacking[0]:
            column.write(shard, rows)
        if shard in lacking[1]:
            items.write(shard, values)

def work(ready):
    os.pwrite = slow
    _, column, items = open_both(root / "killed")
    ready()
    complete(column, items)

killed, progress = 0, []
for _ in range(20):
    random.seed(killed + 100)
    pid, reader = child(work)
    os.read(reader, 1)
    time.sleep(random.uniform(0.0005, 0.015))
    os.kill(pid, signal.SIGKILL)
    killed += end(pid) == -signal.SIGKILL
    _, column, items = open_both(root / "killed")
    right(column, items)
    progress.append(101 - len(missing(column, items)))
    column.close(), items.close()
_, column, items = open_both(root / "killed")
complete(column, items)
right(column, items)
left, undisturbed = files(root / "killed"), files(root / "undisturbed")
same = [name for name in left if left[name] == undisturbed.get(name)]
torn = [name for name in set(left) - set(same) if "journal" in name and same_or_torn(left[name], undisturbed[name])]
print(json.dumps({"killed": killed, "progress": progress, "missing": missing(column, items), "names": sorted(left),
    "same": same, "torn": torn}))
"""

TOGETHER = """
def work(first):
    def go(ready):
        _, column, items = open_both(root / "s")
        ready()
        # Each its own half, and twenty shards that both of them record.
        record(column, items, [shard for shard in range(101) if shard % 2 == first or shard < 20])
        assert not set(missing(column, items)) & set(range(first, 101, 2))
    return go

pids = [child(work(first))[0] for first in (0, 1)]
ends = [end(pid) for pid in pids]
_, column, items = open_both(root / "s")
right(column, items)
print(json.dumps({"ends": ends, "missing": missing(column, items)}))
"""

WAITING = """
def work(ready):
    store, column, items = open_both(root / "s")
    with store.recording(["c", "i"]):
        ready()
        time.sleep(0.2)
        record(column, items, missing(column, items))

pid, reader = child(work)
os.read(reader, 1)
store, column, items = open_both(root / "s")
waited = []
with store.recording(["x"], on_wait=lambda: waited.append("x")):
    pass
with store.recording(["i", "c"], on_wait=lambda: waited.append("c")):
    left = missing(column, items)
right(column, items)

def dying(ready):
    with Store(root / "s").recording(["c"]):
        ready()
        time.sleep(60)

first, reader = child(dying)
os.read(reader, 1)
second, reader = child(lambda ready: (Store(root / "s").recording(["c"], on_wait=ready).__enter__()))
os.read(reader, 1)
os.kill(first, signal.SIGKILL)
print(json.dumps({"left": left, "waited": waited, "ends": [end(pid), end(first), end(second)]}))
"""

IN_USE = """
def hold(ready):
    _, column, items = open_both(root / "s")
    record(column, items, range(101))
    ready()
    time.sleep(60)

pid, reader = child(hold)
os.read(reader, 1)
small = Store(root / "s", budget_bytes=26_000_000)
def ask():
    made = small.column("new", dtype=torch.int32, shape=(WIDTH,), rows=ROWS, shard_rows=SHARD_ROWS, about={})
    made.write(0, of_shard(0)[0])
    kept = made.stored_rows
    made.close()
    return kept
beside = ask()
removed = [entry.key for entry in small.remove(["c", "i", "new"])]
left = sorted(entry.key for entry in small.entries() if entry.in_use)
os.kill(pid, signal.SIGKILL)
end(pid)
print(json.dumps({"beside": beside, "removed": removed, "left": left, "after": ask(),
    "entries": sorted(entry.key for entry in small.entries())}))
"""

MEMORY = """
from frostline.replaying.store.journal import Journal
SHARD_ROWS, WIDTH = 50, 40_000
checksum = b"%08x" % zlib.crc32(bytes(SHARD_ROWS * WIDTH))

def read_all(rows):
    folder = root / str(rows)
    column = Store(folder, budget_bytes=10**12).column("c", dtype=torch.uint8, shape=(WIDTH,), rows=rows,
        shard_rows=SHARD_ROWS, about={})
    assert column.stored_rows == rows
    # The file has holes in place of zeros: nothing of it is on the disk.
    journal = Journal(folder / "c" / "journal")
    for shard in range(rows // SHARD_ROWS):
        journal.append(shard, checksum)
    assert all(not column.read(batch)[:, -1].any() for batch in torch.randperm(rows).split(32))
    assert column.missing() == []
    (anonymous,) = [line for line in open("/proc/self/status") if line.startswith("RssAnon")]
    return int(anonymous.split()[1]), column

few, kept = read_all(1000)
many, kept_too = read_all(8000)
print(json.dumps({"few_kb": few, "many_kb": many}))
"""


def run(code: str, folder: Path, *words: object) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", CHILDREN + START + code, str(folder), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_a_recording_that_was_killed_twenty_times_ends_in_the_same_bytes(tmp_path):
    found = run(KILLED, tmp_path)
    assert found["killed"] == 20
    assert found["progress"] == sorted(found["progress"])
    assert found["progress"][-1] > 0
    assert found["missing"] == []
    assert sorted(found["same"] + found["torn"]) == found["names"]
    assert {"c/rows.bin", "c/column.json", "i/column.json"} <= set(found["same"])


def test_two_processes_record_at_once(tmp_path):
    assert run(TOGETHER, tmp_path) == {"ends": [0, 0], "missing": []}


def test_one_waits_while_another_records_and_death_frees_the_lock(tmp_path):
    assert run(WAITING, tmp_path) == {"left": [], "waited": ["c"], "ends": [0, -9, 0]}


def test_what_a_live_process_uses_is_not_evicted(tmp_path):
    found = run(IN_USE, tmp_path)
    assert 0 < found["beside"] < 100
    assert found["removed"] == ["new"]
    assert found["left"] == ["c", "i"]
    assert found["after"] == 1003
    assert found["entries"] == ["i", "new"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here that says what a process takes")
def test_memory_does_not_grow_with_the_rows(tmp_path):
    found = run(MEMORY, tmp_path)
    assert found["many_kb"] - found["few_kb"] < 50_000  # of 280 MB more
