"""A data set that opens its file with the first sample: it is closed again here, and opened where samples are read."""

import functools
import gc
import os
import zipfile

import pytest
import torch
from torch.utils.data import DataLoader, Subset, get_worker_info

from frostline.replaying.samples.left_open import closed_again

from .tiny import Pictures, net, outputs, picture, replayed

COUNT, BYTES = 37, 4 * 3 * 12 * 12


class Reader:
    """One file, opened late."""

    def __init__(self, path):
        self.path, self.files = path, {}

    def read(self, index):
        if "only" not in self.files:
            self.files["only"] = self.path.open("rb")
        file = self.files["only"]
        file.seek(index * BYTES)
        return torch.frombuffer(bytearray(file.read(BYTES)), dtype=torch.float32).view(3, 12, 12)


class InOneFile(Pictures):
    """Samples that lie in one file, one after the other."""

    def __init__(self, path):
        super().__init__(COUNT)
        self.reader, self.opened_by = Reader(path), None
        self.pack = lambda x, i: (self.reader.read(i), i % 4)


@pytest.fixture
def packed(tmp_path):
    path = tmp_path / "samples.bin"
    path.write_bytes(b"".join(picture(index).numpy().tobytes() for index in range(COUNT)))
    return path


def is_right(found, model):
    plain = net().eval()
    entries = torch.arange(COUNT).split(8)
    for ours, some in zip(outputs(model, found), entries, strict=True):
        torch.testing.assert_close(ours, plain(torch.stack([picture(int(one)) for one in some])), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("workers", [0, 2])
def test_where_other_processes_read_it_is_closed_here(workers, packed, tmp_path):
    data = InOneFile(packed)
    loader = DataLoader(Subset(data, range(COUNT)), batch_size=8, num_workers=workers)
    found = replayed(loader, tmp_path / "store")
    assert found.refused is None
    for _ in range(2):
        is_right(found, found.model)
        assert bool(data.reader.files) == (workers == 0)


def test_a_loader_that_is_not_replayed_is_as_it_was(packed, tmp_path):
    data = InOneFile(packed)
    found = replayed(DataLoader(data, batch_size=8, num_workers=2), tmp_path, net().train(), epochs=0)
    assert found.refused is not None
    assert not data.reader.files


def test_a_file_that_stays_open_out_of_reach_is_named(packed, tmp_path):
    @functools.lru_cache
    def opened():
        return packed.open("rb")

    data = InOneFile(packed)
    data.pack = lambda x, i: (x, opened().seek(0))
    found = replayed(DataLoader(data, batch_size=8, num_workers=2), tmp_path / "store")
    assert f"{packed} stays open" in found.refused
    assert replayed(DataLoader(data, batch_size=8), tmp_path / "store").refused is None
    opened().close()


def test_what_begins_a_process_gets_the_data_set_itself(packed, tmp_path):
    def begin(worker):
        data = get_worker_info().dataset
        data.opened_by = worker
        assert isinstance(data, InOneFile)

    class Begun(InOneFile):
        def __getitem__(self, index):
            assert (self.opened_by is None) == (get_worker_info() is None)
            return super().__getitem__(index)

    found = replayed(DataLoader(Begun(packed), batch_size=8, num_workers=2, worker_init_fn=begin), tmp_path / "store")
    assert found.refused is None
    is_right(found, found.model)


def test_what_holds_an_archive_forgets_it_and_all_else_is_left(tmp_path):
    class Archive:
        def __init__(self, path):
            self.path, self.archive, self.members = path, None, ["one"]

        def read(self):
            self.archive = self.archive or zipfile.ZipFile(self.path)
            return self.archive.read("one")

    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one", b"1")
    gc.collect()
    data, before = Archive(path), len(os.listdir("/dev/fd"))
    with closed_again((data,)) as left:
        assert data.read() == b"1"
        assert data.archive is not None
    assert (data.archive, left, len(os.listdir("/dev/fd"))) == (None, [], before)
    with closed_again(data):
        data.members.append("two")
    assert data.members == ["one", "two"]
