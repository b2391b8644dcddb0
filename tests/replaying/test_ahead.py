"""What a budget has no room for is read by the loader's processes, ahead of the network; the values are the same."""

import gc
import multiprocessing
import os
from collections import Counter

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler

from frostline.replaying.recording.ahead import Ahead

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
    monkeypatch.setattr(os, "cpu_count", lambda: 64)


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


def test_batches_that_are_used_late_or_twice_are_read_again(tmp_path, notes):
    found, _ = half(tmp_path / "store", DataLoader(Noted(notes), batch_size=8, num_workers=1))
    found.model.eval()
    plain = model().eval()
    batches = list(found)
    reads(notes)
    for number, (ghosts, _) in enumerate(batches):
        expected = plain(torch.stack([picture(entry) for entry in range(8 * number, 8 * number + 8)]))
        for _ in range(2):
            torch.testing.assert_close(found.model(ghosts), expected, rtol=1e-5, atol=1e-5)
    assert {process for process, _ in reads(notes)} == {os.getpid()}
    assert found.refused is None


def test_a_loop_that_breaks_off_leaves_no_process_behind(tmp_path):
    found, _ = half(tmp_path, DataLoader(Pictures(COUNT), batch_size=8, num_workers=2))
    for _ in found:
        assert multiprocessing.active_children()
        break
    gc.collect()
    assert not multiprocessing.active_children()


def test_a_network_that_has_every_core_is_not_disturbed(tmp_path, notes, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    found, kept = half(tmp_path / "store", DataLoader(Noted(notes), batch_size=8, num_workers=2))
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
    ahead = Ahead(lambda batches: [None for _ in batches], rows=3)
    assert list(ahead.through(iter([["a", "b"], [1, 2]]))) == [["a", "b"], [1, 2]]
    assert ahead.take([]) is None
