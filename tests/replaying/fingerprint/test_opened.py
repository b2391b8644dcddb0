"""Files that are opened while samples are read: what nothing names makes a fingerprint unknown."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import Dataset, Subset
from torchvision.datasets import ImageFolder
from torchvision.io.image import read_file

from frostline.replaying.fingerprint import OpenedFiles, fingerprint

COUNT = 4


class Held(Dataset):
    """A data set that holds what it is given."""

    def __init__(self, **held: object) -> None:
        self.__dict__.update(held)

    def __len__(self) -> int:
        return COUNT


class Made(Held):
    """Names its files when they are read."""

    def __getitem__(self, index: int) -> object:
        return np.load(f"{self.root}/{index:03}.npy")


class Listed(Held):
    """Holds the names of its files."""

    def __getitem__(self, index: int) -> object:
        return np.load(os.path.join(self.root, self.files[index]))


class ByLibrary(Held):
    """Has its files read by a library that opens them itself."""

    def __getitem__(self, index: int) -> object:
        import torchvision.io

        return torchvision.io.read_file(f"{self.root}/{index:03}.npy")


class ByName(Held):
    """Has its files read by a library of which the module took the function alone."""

    def __getitem__(self, index: int) -> object:
        return read_file(f"{self.root}/{index:03}.npy")


class InMemory(Made):
    """Reads each of its files once."""

    def __getitem__(self, index: int) -> object:
        if index not in self.kept:
            self.kept[index] = super().__getitem__(index)
        return self.kept[index]


class Speaking(Made):
    """Says what identifies it."""

    def __frostline_fingerprint__(self) -> object:
        return "3rd of May"


class Started(Held):
    """Has a program make its samples."""

    def __getitem__(self, index: int) -> object:
        return subprocess.check_output([sys.executable, "-c", "print(1)"])


class Temporary(Held):
    """Reads what it wrote."""

    def __getitem__(self, index: int) -> object:
        with tempfile.NamedTemporaryFile() as file:
            np.save(file, np.zeros(3))
            file.flush()
            return np.load(file.name)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for index in range(COUNT):
        np.save(tmp_path / f"{index:03}.npy", np.full(3, index))
        (tmp_path / "pictures" / f"{index % 2}").mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), index).save(tmp_path / "pictures" / f"{index % 2}" / f"{index}.png")
    return tmp_path


def unknown(dataset: object) -> tuple[str, ...]:
    """What is unknown after some samples were read."""
    with OpenedFiles(dataset) as watch:
        for index in range(COUNT):
            dataset[index]
    return fingerprint(dataset, opened=watch).unknown


def test_a_file_whose_name_is_made_when_it_is_read_is_unknown(root):
    assert unknown(Made(root=str(root))) == tuple(
        f"dataset: opens {root}/{index:03}.npy, which it does not name" for index in range(COUNT)
    )


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
def test_so_is_one_that_a_library_opens_itself(root):
    import torchvision.io.image

    before = torchvision.io.image.read_file
    assert len(unknown(ByLibrary(root=str(root)))) == COUNT
    assert torchvision.io.image.read_file is before
    assert len(unknown(ByName(root=str(root)))) == COUNT
    assert read_file is before


def test_files_that_are_named_are_known(root, monkeypatch):
    names = [f"{index:03}.npy" for index in range(COUNT)]
    assert unknown(Listed(root=root, files=names)) == ()
    assert unknown(Listed(root="", files=[str(root / name) for name in names])) == ()
    assert unknown(ImageFolder(str(root / "pictures"))) == ()
    assert unknown(Subset(ImageFolder(str(root / "pictures")), [3, 2, 1, 0])) == ()
    monkeypatch.chdir(root)
    assert unknown(Listed(root=".", files=names)) == ()


def test_a_data_set_that_says_what_identifies_it_answers_for_its_files(root):
    assert unknown(Speaking(root=str(root))) == ()
    assert unknown(Subset(Speaking(root=str(root)), range(COUNT))) == ()


def test_what_is_kept_in_memory_was_opened_all_the_same(root):
    dataset = InMemory(root=str(root), kept={})
    assert len(unknown(dataset)) == COUNT
    assert len(unknown(dataset)) == COUNT
    assert OpenedFiles(InMemory(root=str(root), kept={})).files == ()


def test_files_that_a_sample_writes_itself_and_those_of_packages_do_not_count():
    assert unknown(Temporary()) == ()
    with OpenedFiles() as watch:
        Path(np.__file__).with_name("py.typed").read_bytes()
        Path(__file__).read_bytes()
        Path(os.devnull).read_bytes()
    assert watch.files == ()


def test_a_program_that_is_started_is_unknown():
    assert unknown(Started()) == (f"dataset: runs {sys.executable!r}",)


def test_nothing_is_noticed_outside_of_a_watch(root):
    watch = OpenedFiles()
    with watch:
        pass
    np.load(root / "000.npy")
    assert watch.files == ()
    with watch, OpenedFiles() as inner:
        np.load(root / "001.npy")
    with watch:
        np.load(root / "002.npy")
    assert watch.files == (str(root / "001.npy"), str(root / "002.npy"))
    assert inner.files == (str(root / "001.npy"),)


def test_an_error_passes_through_a_watch(root):
    with pytest.raises(FileNotFoundError), OpenedFiles() as watch:
        np.load(root / "none.npy")
    assert watch.files == ()
    np.load(root / "000.npy")
    assert watch.files == ()


class ByTable(Held):
    """Opens what the rows of a table name."""

    def __init__(self, root: str, table: object) -> None:
        self.root, self.table = root, table

    def __getitem__(self, index: int) -> object:
        return np.load(f"{self.root}/{self.table[index]['number']:03}.npy")  # type: ignore[index]


def test_a_table_of_hugging_face_does_not_speak_for_what_is_opened_by_its_rows(root):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    table = datasets.Dataset.from_dict({"number": list(range(COUNT))})
    assert f"dataset: opens {root}/000.npy, which it does not name" in unknown(ByTable(str(root), table))


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="there is no memory disk")
def test_a_file_on_a_memory_disk_counts():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        for index in range(COUNT):
            np.save(f"{folder}/{index:03}.npy", np.zeros(3))
        assert len(unknown(Made(root=folder))) == COUNT


def test_of_a_data_base_in_a_folder_its_file_counts(tmp_path, monkeypatch):
    (tmp_path / "data.mdb").write_bytes(b"everything")
    monkeypatch.setitem(sys.modules, "lmdb", SimpleNamespace(open=lambda path: None))
    with OpenedFiles() as watch:
        sys.modules["lmdb"].open(str(tmp_path))
    assert watch.files == (f"{tmp_path}/data.mdb",)
