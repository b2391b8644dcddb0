"""Pictures below a folder are all listed, and what is left out is said, picture by picture."""

import errno
import os
from pathlib import Path

import pytest

from frostline.data import Fault, list_pictures, listing
from frostline.data.pictures import HEIF_SUFFIXES, NEEDS_HEIF, SUFFIXES
from frostline.errors import DataError


@pytest.fixture
def without_heif(monkeypatch):
    monkeypatch.setattr(listing, "readable_suffixes", lambda: SUFFIXES)


def lay_out(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"not opened")
    return folder


def test_pictures_at_any_depth_are_listed_sorted(tmp_path):
    folder = lay_out(tmp_path / "new", "b.png", "a/2.JPG", "a/deep/1.webp", "notes.txt", ".hidden/3.png", ".4.png")
    assert list_pictures(folder) == ([folder / "a/2.JPG", folder / "a/deep/1.webp", folder / "b.png"], ())
    assert list_pictures(folder / "notes.txt") == ([folder / "notes.txt"], ())


def test_heic_files_are_faults_where_nothing_reads_them(tmp_path, without_heif):
    folder = lay_out(tmp_path / "new", "1.png", "b.HEIC", "a/2.heif", "a/x.txt")
    (folder / "again.heic").symlink_to("b.HEIC")
    paths, faults = list_pictures(folder)
    assert paths == [folder / "1.png"]
    assert faults == (Fault(str(folder / "a/2.heif"), NEEDS_HEIF), Fault(str(folder / "b.HEIC"), NEEDS_HEIF))


def test_heic_files_are_pictures_where_they_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "readable_suffixes", lambda: SUFFIXES | HEIF_SUFFIXES)
    folder = lay_out(tmp_path / "new", "1.png", "b.HEIC")
    assert list_pictures(folder) == ([folder / "1.png", folder / "b.HEIC"], ())


def test_heic_files_alone_are_an_error_that_names_them(tmp_path, without_heif):
    folder = lay_out(tmp_path / "new", "1.heic")
    with pytest.raises(DataError, match=r"no pictures in it that can be read.*pip install pillow-heif") as caught:
        list_pictures(folder)
    assert caught.value.items == (f"{folder / '1.heic'}: {NEEDS_HEIF}",)


def test_links_out_and_closed_folders_are_faults(tmp_path, monkeypatch):
    lay_out(tmp_path / "elsewhere", "1.png")
    folder = lay_out(tmp_path / "new", "1.png", "closed/2.png")
    (folder / "out.png").symlink_to(tmp_path / "elsewhere/1.png")
    scandir = os.scandir

    def scan(path):
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    paths, faults = list_pictures(folder)
    assert paths == [folder / "1.png"]
    assert {fault.name for fault in faults} == {str(folder / "closed"), str(folder / "out.png")}
    assert "the folder cannot be read (Permission denied)" in [fault.reason for fault in faults]
    assert list_pictures(folder, follow_links=True)[0] == [folder / "1.png", folder / "out.png"]


def test_nothing_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no such folder or file"):
        list_pictures(tmp_path / "gone")
    with pytest.raises(DataError, match="no pictures in it"):
        list_pictures(tmp_path)


def test_a_list_of_pictures_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "photos.csv").write_text("path,label\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a list of pictures, and no picture\. name the folder"):
        list_pictures(tmp_path / "photos.csv")
