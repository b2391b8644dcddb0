"""What a budget has no room for is read by the loader's processes, ahead of the network; the values are the same."""

import gc
import multiprocessing
import os
from collections import Counter

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler

from frostline.replaying.recording import prefix, read_ahead
from frostline.replaying.recording.read_ahead import ReadAhead

from .test_gathering import by_label
from .tiny import Pictures, net, outputs, picture, replayed

COUNT = 64


class Noted(Pictures):
    """Samples that write down which process reads them."""

    def __init__(self, notes):
        super().__init__(COUNT)
        self.pack = self.packed
        self._notes = notes

    def packed(self, x, index):
        line = f"{os.getpid()} {index}\n".encode()
        with open(self._notes, "ab", buffering=0) as notes:
            notes.write(line)
        return x, index % 4


def model():
    one = net()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        one.pool, one.head = nn.Flatten(), nn.Linear(576, 4)
    return one


def reads(notes):
    lines = [tuple(map(int, line.split())) for line in notes.read_text().splitlines()]
    notes.write_text("")
    return lines


@pytest.fixture(autouse=True)
def many_cores(monkeypatch):
    monkeypatch.setattr(prefix, "own_cores", lambda: torch.get_num_threads() + 1)


@pytest.fixture
def notes(tmp_path):
    file = tmp_path / "notes"
    file.touch()
    return file


def half(folder, loader, network=None):
    found = replayed(loader, folder, network or model(), budget=200_000)
    assert found.refused is None
    (line,) = (line for line in found.lines if "keeps" in line)
    kept = int(line.split("keeps ")[1].split()[0])
    assert 0 < kept < COUNT
    return found, kept


def test_each_is_read_once_in_an_epoch_by_another_process(tmp_path, notes):
    found, kept = half(tmp_path / "store", DataLoader(Noted(notes), batch_size=8, shuffle=True, num_workers=2))
    reads(notes)
    for _ in range(2):
        outputs(found.model, found)
        read = reads(notes)
        elsewhere = Counter(entry for process, entry in read if process != os.getpid())
        assert elsewhere == Counter(range(kept, COUNT))
        # The one that is looked at in every epoch.
        assert len(read) - elsewhere.total() <= 1
    assert found.closing.endswith(f"computed {2 * (COUNT - kept)}")


@pytest.mark.parametrize("replacement", [False, True])
def test_the_batches_and_values_are_those_of_the_loader(replacement, tmp_path):
    def loader(workers):
        data, generator = Pictures(COUNT), torch.Generator().manual_seed(3)
        sampler = RandomSampler(data, replacement=replacement, generator=generator)
        return DataLoader(data, batch_size=8, sampler=sampler, num_workers=workers)

    found, _ = half(tmp_path, loader(2))
    for _ in range(2):
        found.sampler.generator.manual_seed(5)
        own = loader(0)
        own.sampler.generator.manual_seed(5)
        for ours, theirs in zip(outputs(found.model, found), outputs(found.model, own), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert found.refused is None


def test_batches_may_be_used_late_and_those_used_twice_are_read_again(tmp_path, notes):
    found, kept = half(tmp_path / "store", DataLoader(Noted(notes), batch_size=8, num_workers=1))
    found.model.eval()
    plain = model().eval()
    batches = list(found)
    for read in ([], range(kept, COUNT)):
        reads(notes)
        for number, (ghosts, _) in enumerate(batches):
            expected = plain(torch.stack([picture(entry) for entry in range(8 * number, 8 * number + 8)]))
            torch.testing.assert_close(found.model(ghosts), expected, rtol=1e-5, atol=1e-5)
        assert reads(notes) == [(os.getpid(), entry) for entry in read]
    assert found.refused is None


def test_of_batches_that_nobody_uses_few_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(read_ahead, "_WAITING_BYTES", 20_000)
    found, _ = half(tmp_path, DataLoader(Pictures(COUNT), batch_size=8, num_workers=1))
    for _ in range(3):
        list(found)
        waiting = found.batch_sampler._through.__self__._prefix.read_ahead._waiting
        assert len(waiting) == 1


@pytest.mark.parametrize("persistent", [False, True])
def test_processes_stay_where_the_loaders_stay(persistent, tmp_path, notes):
    loader = DataLoader(Noted(notes), batch_size=8, num_workers=2, persistent_workers=persistent)
    found, kept = half(tmp_path / "store", loader)
    reads(notes)
    ids = []
    for _ in range(3):
        outputs(found.model, found)
        read = [(process, entry) for process, entry in reads(notes) if process != os.getpid()]
        assert Counter(entry for _, entry in read) == Counter(range(kept, COUNT))
        ids.append({process for process, _ in read})
    assert (ids[0] == ids[1] == ids[2]) == persistent


def test_samples_that_the_collate_function_sorts_are_put_where_they_belong(tmp_path):
    data = Pictures(COUNT, pack=lambda x, i: (x, (i * 7) % COUNT % 4))
    loader = DataLoader(data, batch_size=8, collate_fn=by_label, shuffle=True, num_workers=2)
    found, _ = half(tmp_path, loader)
    torch.manual_seed(1)
    ours = outputs(found.model, found)
    torch.manual_seed(1)
    for one, other in zip(ours, outputs(found.model, loader), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert found.refused is None


def test_nothing_is_read_ahead_when_replay_is_off(tmp_path, notes):
    found, kept = half(tmp_path / "store", DataLoader(Noted(notes), batch_size=8, num_workers=1))
    reads(notes)
    for number, (ghosts, _) in enumerate(found):
        if number == 0:
            ghosts + 1
            assert found.refused is not None
    elsewhere = [entry for process, entry in reads(notes) if process != os.getpid()]
    assert len(elsewhere) < (COUNT - kept) / 2


def test_where_the_processes_fail_this_one_reads(tmp_path):
    def fails(worker):
        raise RuntimeError("no such device")

    loader = DataLoader(Pictures(COUNT), batch_size=8)
    expected = outputs(half(tmp_path, loader)[0].model, loader)
    # What is stored is of the same samples, however they are read.
    found, kept = half(tmp_path, DataLoader(Pictures(COUNT), batch_size=8, num_workers=2, worker_init_fn=fails))
    for ours, theirs in zip(outputs(found.model, found), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert found.closing.endswith(f"computed {COUNT - kept}")


def test_a_sampler_that_fails_says_so(tmp_path):
    class Failing(SequentialSampler):
        def __iter__(self):
            yield from range(10)
            raise KeyError("the sampler's own")

    data = Pictures(COUNT)
    found, _ = half(tmp_path, DataLoader(data, batch_size=4, sampler=Failing(data), num_workers=2))
    with pytest.raises(KeyError, match="the sampler's own"):
        list(found)


def test_a_loop_that_breaks_off_leaves_no_process_behind(tmp_path):
    found, _ = half(tmp_path, DataLoader(Pictures(COUNT), batch_size=8, num_workers=2))
    before = set(multiprocessing.active_children())
    for _ in found:
        assert set(multiprocessing.active_children()) - before
        break
    gc.collect()
    assert not set(multiprocessing.active_children()) - before


def test_a_network_that_has_every_core_is_not_disturbed(tmp_path, notes, monkeypatch):
    monkeypatch.setattr(prefix, "own_cores", torch.get_num_threads)
    found, kept = half(tmp_path / "store", DataLoader(Noted(notes), batch_size=8, num_workers=1))
    reads(notes)
    outputs(found.model, found)
    assert Counter(process for process, _ in reads(notes))[os.getpid()] >= COUNT - kept


def test_accelerate_gives_what_was_read_ahead(tmp_path, notes):
    accelerate = pytest.importorskip("accelerate")
    found, kept = half(tmp_path / "store", DataLoader(Noted(notes), batch_size=8, num_workers=2))
    reads(notes)
    outputs(found.model, accelerate.Accelerator(cpu=True).prepare(found))
    assert Counter(entry for process, entry in reads(notes) if process != os.getpid()) == Counter(range(kept, COUNT))


def test_what_gives_no_numbers_is_passed_on():
    ahead = ReadAhead(lambda batches: batches, rows=3)
    assert list(ahead.through(iter([["a", "b"], [1, 2]]), off=lambda: False)) == [["a", "b"], [1, 2]]
    assert ahead.take([]) is None
