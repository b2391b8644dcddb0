"""Recording through the verb: killed, shared, damaged, without room, in several processes; the losses stay right."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from frostline.errors import StoreError
from frostline.replaying.store import Store
from frostline.replaying.store.columns import Column
from frostline.replaying.store.items import Items

from .children import CHILDREN
from .tiny import Pictures, frozen, net, outputs, replayed, train

START = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from torch.utils.data import DataLoader
from replaying.tiny import Pictures, frozen, net, outputs, replayed, train
torch.set_num_threads(1)
root = Path(sys.argv[1])

COUNT = 203
def loader(**options):
    return DataLoader(Pictures(COUNT), batch_size=5, **options)

def lines(content):
    return sorted(line for line in content.split(b"\\n") if line)

def same(found, expected):
    # A kill can tear the line that is being written; the torn rest counts for nothing.
    return found == expected or set(lines(expected)) <= set(lines(found)) and all(
        any(line.startswith(part) for line in lines(expected)) for part in set(lines(found)) - set(lines(expected))
    )
"""

KILLED = """
COUNT = 403
replayed(loader(), root / "undisturbed")
random.seed(4)
killed, recorded = 0, []
for kill in range(20):
    def work(ready):
        replayed(loader(), root / "killed", show=lambda done, total: ready() if done <= 5 else None)
    pid, reader = child(work)
    os.read(reader, 1)
    time.sleep(random.uniform(0, 0.008))
    os.kill(pid, signal.SIGKILL)
    killed += end(pid) == -signal.SIGKILL
    recorded.append(sum(len(content) for name, content in files(root / "killed").items() if "journal" in name))
found = replayed(loader(), root / "killed")
again = replayed(loader(), root / "killed")
own = outputs(found.model, loader())
right = all(torch.equal(*pair) for pair in zip(outputs(again.model, again), own, strict=True))
left, expected = files(root / "killed"), files(root / "undisturbed")
print(json.dumps({"killed": killed, "grew": recorded[-1] > recorded[0], "lines": again.lines, "right": right,
    "names": sorted(left) == sorted(expected),
    "other": [name for name in left if not (same if "journal" in name else bytes.__eq__)(left[name], expected[name])]}))
"""

TOGETHER = """
def work(ready):
    found = replayed(loader(), root / "s")
    own = outputs(found.model, loader())
    assert found.refused is None, found.refused
    assert all(torch.equal(*pair) for pair in zip(outputs(found.model, found), own, strict=True))

ends = [end(pid) for pid in [child(work)[0] for _ in range(2)]]
print(json.dumps({"ends": ends, "lines": replayed(loader(), root / "s").lines}))
"""

RANKS = """
import torch.distributed as dist
from datetime import timedelta
reason = sys.argv[2]
odd = slice(3)

def alone(samples):
    return [torch.stack([image for image, _ in samples])]

def work(number):
    def go(ready):
        dist.init_process_group("gloo", init_method=f"file://{root}/meet", rank=number, world_size=2,
            timeout=timedelta(seconds=60))
        folder = root / ("own" + str(number) if reason == "apart" else "s")
        if reason == "refused" and number == 1:
            data = Pictures(203, pack=lambda x, i: (x, odd))
            found = replayed(DataLoader(data, batch_size=5, collate_fn=alone), folder)
        elif reason == "late" and number == 1:
            data = Pictures(203, pack=lambda x, i: (x, odd if i == 107 else 0))
            found = replayed(DataLoader(data, batch_size=5, collate_fn=alone), folder)
        else:
            found = replayed(loader(), folder)
        right = None
        if found.refused is None:
            own = outputs(found.model, loader())
            right = all(torch.equal(*pair) for pair in zip(outputs(found.model, found), own, strict=True))
        (root / f"said{number}").write_text(json.dumps([found.refused, found.lines[1:], right]))
        dist.barrier()
    return go

ends = [end(pid) for pid in [child(work(number))[0] for number in range(2)]]
print(json.dumps({"ends": ends, "said": [json.loads((root / f"said{n}").read_text()) for n in range(2)]}))
"""

HIT = """
found = replayed(loader(), root / "s")
print(json.dumps({"lines": found.lines, "entries": sorted(path.name for path in (root / "s").iterdir())}))
"""

MEMORY = """
from replaying import tiny
picture = torch.zeros(3, 12, 12)
class Fast(Pictures):
    def __getitem__(self, index):
        if index < 4:
            time.sleep(0.002)
        return picture.clone(), f"a name of sample {index}", index

def anonymous(count):
    found = replayed(DataLoader(Fast(count), batch_size=100), root / str(count))
    assert found.refused is None, found.refused
    for images, names, _ in found:
        assert len(names) == 100
        found.model(images)
    (line,) = [line for line in open("/proc/self/status") if line.startswith("RssAnon")]
    return int(line.split()[1]), found

few, kept = anonymous(1000)
many, kept_too = anonymous(20_000)
print(json.dumps({"few_kb": few, "many_kb": many}))
"""


def run(code: str, folder: Path, *words: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", CHILDREN + START + code, str(folder), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_a_recording_that_was_killed_twenty_times_ends_in_the_same_bytes(tmp_path):
    found = run(KILLED, tmp_path)
    assert found["killed"] == 20
    assert found["grew"]
    assert found["names"]
    assert found["other"] == []
    assert found["right"]
    assert len(found["lines"]) == 1, "nothing was left to record"


def test_two_processes_record_at_once(tmp_path):
    found = run(TOGETHER, tmp_path)
    assert found["ends"] == [0, 0]
    assert len(found["lines"]) == 1


def test_another_process_finds_what_was_recorded(tmp_path):
    first, second = run(HIT, tmp_path), run(HIT, tmp_path)
    assert "recorded 203 samples" in first["lines"][1]
    assert len(second["lines"]) == 1
    assert "recorded already" in second["lines"][0]
    assert second["entries"] == first["entries"]


def test_ranks_divide_the_recording_and_all_see_everything(tmp_path):
    found = run(RANKS, tmp_path, "together")
    assert found["ends"] == [0, 0]
    recorded = [int(said[1][0].split("recorded ")[1].split()[0]) for said in found["said"]]
    assert sum(recorded) == 203
    assert min(recorded) > 90
    assert [(said[0], said[2]) for said in found["said"]] == [(None, True)] * 2


def test_ranks_with_folders_of_their_own_record_the_rest_each(tmp_path):
    found = run(RANKS, tmp_path, "apart")
    assert found["ends"] == [0, 0]
    assert [(said[0], said[2]) for said in found["said"]] == [(None, True)] * 2


@pytest.mark.parametrize("when", ["refused", "late"])
def test_what_one_rank_refuses_all_refuse(when, tmp_path):
    found = run(RANKS, tmp_path, when)
    assert found["ends"] == [0, 0]
    assert found["said"][0][0] == f"process 1: {found['said'][1][0]}"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here that says what a process takes")
def test_memory_does_not_grow_with_the_samples(tmp_path):
    found = run(MEMORY, tmp_path)
    assert found["many_kb"] - found["few_kb"] < 300_000


def test_several_loader_processes_record_the_same(tmp_path):
    for workers in (0, 2):
        found = replayed(DataLoader(Pictures(), batch_size=8, num_workers=workers), tmp_path / str(workers))
        assert "recorded 37 samples" in found.lines[1]
    first, second = (
        {path.relative_to(tmp_path / kind): path.read_bytes() for path in (tmp_path / kind).rglob("rows.bin")}
        for kind in ("0", "2")
    )
    assert first == second


def losses_without(loader):
    model = net()
    frozen(model)
    torch.manual_seed(2)
    return train(model, loader)


def losses_with(found):
    torch.manual_seed(2)
    return train(found.model, found)


@pytest.fixture
def first_checked(monkeypatch):
    """What is read again when a loader is made is not where the tests do damage."""
    monkeypatch.setattr("frostline.replaying.recording.prefix.elsewhere", lambda rows, **_: [0])


def test_a_flipped_byte_is_found_and_mended(tmp_path, first_checked):
    loader = DataLoader(Pictures(), batch_size=8)
    replayed(loader, tmp_path).original = None
    (rows,) = tmp_path.rglob("rows.bin")
    before = rows.read_bytes()
    found = replayed(loader, tmp_path)
    rows.write_bytes(before[:1500] + bytes([before[1500] ^ 64]) + before[1501:])
    assert losses_with(found) == losses_without(loader)
    assert found.refused is None
    assert rows.read_bytes() == before


def test_a_flipped_byte_among_the_labels_is_found_and_mended(tmp_path, first_checked):
    loader = DataLoader(Pictures(), batch_size=8)
    replayed(loader, tmp_path)
    (journal,) = (path for path in tmp_path.rglob("journal") if not (path.parent / "rows.bin").exists())
    content = bytearray(journal.read_bytes())
    content[len(content) // 2] ^= 1
    journal.write_bytes(content)
    found = replayed(loader, tmp_path)
    assert "recorded 8 samples" in found.lines[1]
    assert losses_with(found) == losses_without(loader)


def test_a_disk_that_forgets_at_once_ends_replay_with_the_right_losses(tmp_path, monkeypatch, first_checked):
    loader = DataLoader(Pictures(), batch_size=8)
    found = replayed(loader, tmp_path)
    write = Column.write
    monkeypatch.setattr(Column, "write", lambda self, shard, rows: write(self, shard, rows * 2))
    (rows,) = tmp_path.rglob("rows.bin")
    monkeypatch.setattr(Column, "_verify", lambda self, shard: False)
    assert losses_with(found) == losses_without(loader)
    assert "other bytes than were written" in found.refused
    assert rows.exists()


def test_a_budget_of_half_the_data_keeps_half_and_the_values_are_right(tmp_path):
    # A sample takes 16 × 6 × 6 numbers before the pooling that only a trained body sees: 2.3 kB.
    loader = DataLoader(Pictures(64), batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(1))
    model = net()
    model.pool = torch.nn.Flatten()
    model.head = torch.nn.Linear(576, 4)
    found = replayed(loader, tmp_path, model, budget=200_000)
    assert found.refused is None
    kept = int(found.lines[-1].split("keeps ")[1].split()[0])
    assert 16 <= kept <= 56
    assert sum(path.stat().st_blocks * 512 for path in tmp_path.rglob("*")) <= 200_000
    own = DataLoader(Pictures(64), batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(1))
    for ours, theirs in zip(outputs(model, found), outputs(model, own), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert found.closing.startswith(f"replay: looked up {kept} samples")
    assert found.closing.endswith(f"computed {64 - kept}")


def test_columns_share_a_budget(tmp_path):
    from frostline.replaying.recording.opening import Wanted, open_columns

    store = Store(tmp_path, budget_bytes=600_000)
    wanted = [Wanted(key=name, dtype=torch.float32, shape=(size,), about={}) for name, size in (("a", 900), ("b", 100))]
    columns = open_columns(store, wanted, rows=1000, shard_rows=10)
    assert columns["a"].stored_rows == columns["b"].stored_rows > 70
    large = Wanted(key="c", dtype=torch.float32, shape=(9000,), about={})
    with pytest.raises(StoreError, match="no room"):
        open_columns(Store(tmp_path, budget_bytes=601_000), [large], rows=100, shard_rows=10)


@pytest.mark.parametrize(("dtype", "worst"), [("bf16", 8e-3), ("fp16", 1e-3)])
def test_a_smaller_type_is_kept_with_its_error_stated(dtype, worst, tmp_path):
    loader = DataLoader(Pictures(), batch_size=8)
    exact, found = replayed(loader, tmp_path / "fp32"), replayed(loader, tmp_path / dtype, dtype=dtype)
    stated = float(found.lines[-1].split("up to ")[1].split()[0])
    assert 0 < stated < worst
    sizes = [next(folder.rglob("rows.bin")).stat().st_size for folder in (tmp_path / "fp32", tmp_path / dtype)]
    assert sizes[0] == 2 * sizes[1]
    for ours, theirs in zip(outputs(found.model, found), outputs(exact.model, exact), strict=True):
        assert (ours - theirs).abs().max() < 2 * worst * theirs.abs().max()
    assert exact.refused is found.refused is None


@pytest.mark.parametrize("what", [Column, Items])
def test_a_full_disk_turns_replay_off_and_the_run_goes_on(what, tmp_path, monkeypatch):
    def full(self, shard, rows):
        raise StoreError("store here", found="no room on the disk", do="make room")

    monkeypatch.setattr(what, "write", full)
    loader = DataLoader(Pictures(), batch_size=8)
    found = replayed(loader, tmp_path)
    assert found.refused == "store here: no room on the disk"
    assert losses_with(found) == losses_without(loader)


def test_a_disk_that_is_full_when_mending_turns_replay_off_and_the_run_goes_on(tmp_path, monkeypatch, first_checked):
    loader = DataLoader(Pictures(), batch_size=8)
    found = replayed(loader, tmp_path)
    (rows,) = tmp_path.rglob("rows.bin")
    again = replayed(loader, tmp_path)
    content = rows.read_bytes()
    rows.write_bytes(content[:1500] + bytes([content[1500] ^ 64]) + content[1501:])

    def full(self, shard, rows):
        raise StoreError("store here", found="no room on the disk", do="make room")

    monkeypatch.setattr(Column, "write", full)
    assert losses_with(again) == losses_without(loader)
    assert again.refused == "store here: no room on the disk"
    assert found.refused is None


def test_a_folder_that_cannot_be_written_turns_replay_off_and_the_run_goes_on(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    loader = DataLoader(Pictures(), batch_size=8)
    found = replayed(loader, tmp_path / "file" / "store")
    assert "cannot be written" in found.refused
    assert losses_with(found) == losses_without(loader)


def test_what_nobody_else_could_know_is_kept_for_this_process_alone(tmp_path):
    handle = (tmp_path / "open").open("w")
    data = Pictures()
    data.log = handle
    first, again = (replayed(DataLoader(data, batch_size=8), tmp_path / "s", model) for model in [net()] * 1 + [net()])
    assert first.refused is again.refused is None
    assert "recorded 37" in first.lines[1]
    assert "recorded 37" in again.lines[1], "another network"
    names = {path.parent.name for path in (tmp_path / "s").rglob("column.json")}
    assert len(names) == 4
    handle.close()


def test_the_last_samples_are_computed_in_a_batch_as_large_as_the_others(tmp_path: Path) -> None:
    """Their sums are rounded as those of a whole batch, whatever is put together with them later."""
    sizes: list[int] = []

    class Counting(torch.nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            sizes.append(len(x))
            return super().forward(x)

    model = net()
    counting = Counting(3, 8, 3, stride=2, padding=1)
    counting.load_state_dict(model.stem[0].state_dict())
    model.stem[0] = counting
    begun: list[int] = []
    found = replayed(
        DataLoader(Pictures(37), batch_size=8), tmp_path, model, show=lambda done, total: begun.append(len(sizes))
    )
    assert [sizes[place - 1] for place in begun] == [8] * 5
    assert "recorded 37 samples" in " ".join(found.lines)
    expected = outputs(net(), DataLoader(Pictures(37), batch_size=8))
    for ours, theirs in zip(outputs(model, found), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
