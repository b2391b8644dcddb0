"""Names of files: the folder that they share against `os.path`, and the cut in the middle."""

import ntpath
import posixpath

import pytest

from frostline.report.names import common_folder, shortened_name


@pytest.mark.parametrize(
    "names",
    [
        ["/photos/cat/1.jpg", "/photos/dog/2.jpg"],
        ["/photos/cat/1.jpg"],
        ["/photos/cat/1.jpg", "/photos/cat/12.jpg"],
        ["/photos/cat/1.jpg", "/photos/cathedral/1.jpg"],
        ["/photos/1.jpg", "/photos/cat/deep/er/1.jpg"],
        ["/mit Leerzeichen/雪/a\nb.jpg", "/mit Leerzeichen/雪/c.jpg"],
    ],
    ids=["two folders", "one file", "alike in the file", "alike in the folder", "one deeper", "odd letters"],
)
@pytest.mark.parametrize("path", [posixpath, ntpath], ids=["posix", "windows"])
def test_the_common_folder_as_os_path_finds_it(names: list[str], path) -> None:
    here = ["C:" + name.replace("/", "\\") for name in names] if path is ntpath else names
    assert common_folder(here) == path.join(path.commonpath([path.dirname(name) for name in here]), "")


@pytest.mark.parametrize(
    "names",
    [[], ["digits[1]", "digits[2]"], ["builtin/digits[1]"], ["/a/1.jpg", "builtin/digits[1]"], ["/a.jpg", "/b.jpg"]],
    ids=["none", "no paths", "a source", "one of each", "the root alone"],
)
def test_where_no_folder_is_shared(names: list[str]) -> None:
    assert common_folder(names) == ""


@pytest.mark.parametrize("length", [1, 9, 10, 11, 300])
def test_a_short_name_stays_and_a_long_one_keeps_both_ends(length: int) -> None:
    name = "".join(chr(0x4E00 + place) for place in range(length))
    short = shortened_name(name, most=10)
    assert len(short) == min(length, 10)
    if length <= 10:
        assert short == name
    else:
        start, end = short.split("…")
        assert name.startswith(start)
        assert name.endswith(end)
        assert len(end) > len(start) > 0
