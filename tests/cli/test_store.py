"""`frostline store`: lists what is there, removes what was asked for and nothing that is in use."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from frostline.replaying.store import Store

from .commands import Call

KEYS = {"old": "0a" * 32, "half": "0b" * 32, "new": "c1" * 32}
DAY_SECONDS = 86_400


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a store with a column that is old, one that was left incomplete two days ago, and a new one."""
    made = tmp_path / "store"
    monkeypatch.setenv("FROSTLINE_STORE", str(made))
    for (name, key), days in zip(KEYS.items(), (31, 2, 0), strict=True):
        about = {"network": f"timm/{name}", "freeze": "through: stage3", "holds": "layer4.1"}
        column = Store(made).column(
            key, dtype=torch.uint8, shape=(1000,), rows=100, shard_rows=50, about=about, most_rows=None
        )
        for shard in (0,) if name == "half" else (0, 1):
            column.write(shard, torch.ones(50, 1000, dtype=torch.uint8))
        column.close()
        used = time.time() - days * DAY_SECONDS
        os.utime(made / key / "in-use", (used, used))
    return made


def left(folder: Path) -> set[str]:
    return {name for name, key in KEYS.items() if (folder / key / "column.json").exists()}


def test_every_command_has_an_example(frostline: Call) -> None:
    for command in ("store list", "store prune"):
        found = frostline(*command.split(), "--help")
        assert (found.code, found.err) == (0, "")
        assert f"Example: frostline {command}" in found.out


def test_the_store_is_listed(frostline: Call, folder: Path) -> None:
    found = frostline("store", "list")
    assert (found.code, found.err) == (0, "")
    header, *rows, last = found.out.splitlines()
    assert header.split() == ["key", "holds", "network", "freeze", "samples", "of", "size", "last", "used"]
    assert [row.split()[0] for row in rows] == [key[:12] for key in KEYS.values()]
    assert rows[1].split()[1:7] == ["layer4.1", "timm/half", "through:", "stage3", "50", "100"]
    assert rows[2].endswith(
        time.strftime("%Y-%m-%d %H:%M", time.localtime((folder / KEYS["new"] / "in-use").stat().st_mtime))
    )
    assert last.startswith(f"{folder}: 3 entries, ")
    assert "the budget is " in last
    listed = json.loads(frostline("store", "list", "--json").out)
    assert [entry["key"] for entry in listed["entries"]] == list(KEYS.values())
    sizes = [sum(p.lstat().st_blocks * 512 for p in [folder / k, *(folder / k).iterdir()]) for k in KEYS.values()]
    assert [entry["size_bytes"] for entry in listed["entries"]] == sizes


def test_a_damaged_description_is_listed_and_removed(frostline: Call, folder: Path) -> None:
    description = folder / KEYS["old"] / "column.json"
    description.write_text(description.read_text().replace('"shard_rows": 50', '"shard_rows": 0'))
    found = frostline("store", "list")
    assert (found.code, found.err) == (0, "")
    assert found.out.splitlines()[1].split()[:2] == [KEYS["old"][:12], "damaged"]
    assert frostline("store", "list", "--json").code == 0
    found = frostline("store", "prune", "--all")
    assert (found.code, found.err) == (0, "")
    assert f"removed {KEYS['old'][:12]} (damaged), " in found.out
    assert left(folder) == set()


def test_what_is_empty_goes_at_once(frostline: Call, folder: Path) -> None:
    Store(folder).items("0f" * 32, rows=9, shard_rows=3, about={"network": "Net"}).close()
    row = next(row for row in frostline("store", "list").out.splitlines() if row.startswith("0f"))
    assert row.split()[1:5] == ["labels", "Net", "0", "9"]
    assert f"removed {'0f' * 6} (Net labels), " in frostline("store", "prune").out


def test_long_words_are_cut(frostline: Call, folder: Path) -> None:
    about = {"network": "Net", "freeze": "match: [" + "blocks.1, " * 20 + "]", "holds": "pool"}
    Store(folder).items("0f" * 32, rows=9, shard_rows=3, about=about).close()
    row = next(row for row in frostline("store", "list").out.splitlines() if row.startswith("0f"))
    assert "match: [blocks.1, blocks.1, bl …" in row


def test_a_store_that_is_not_there_is_empty(frostline: Call, tmp_path: Path) -> None:
    found = frostline("store", "list", "--dir", "nowhere")
    assert (found.code, found.err) == (0, "")
    assert found.out.startswith("nowhere: 0 entries, 0 B; the budget is ")
    assert "removed 0 of 0, 0 B" in frostline("store", "prune", "--all", "--dir", "nowhere").out
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("words", "stay"),
    [
        ([], {"new"}),
        (["--all"], set()),
        (["--older-than", "30"], {"half", "new"}),
        (["--older-than", "1.5"], {"new"}),
        (["--to", "150kB"], {"new"}),
        (["--to", "1TB"], {"old", "half", "new"}),
        (["0a"], {"half", "new"}),
        ([KEYS["half"], "c1c1"], {"old"}),
    ],
    ids=lambda words: " ".join(sorted(words)) if isinstance(words, set) else " ".join(words) or "by default",
)
def test_what_was_asked_for_is_removed(frostline: Call, folder: Path, words: list[str], stay: set[str]) -> None:
    found = frostline("store", "prune", *words)
    assert (found.code, found.err) == (0, "")
    assert left(folder) == stay
    lines = found.out.splitlines()
    for name, key in KEYS.items():
        assert (f"removed {key[:12]} (timm/{name} layer4.1), " in found.out) == (name not in stay)
    assert lines[-1].startswith(f"{folder}: removed {3 - len(stay)} of 3, ")


@pytest.mark.parametrize("words", [["--all"], ["--to", "0B"], ["0a"]], ids=" ".join)
def test_what_is_in_use_is_left_and_named(frostline: Call, folder: Path, words: list[str]) -> None:
    used = Store(folder).column(KEYS["old"], dtype=torch.uint8, shape=(1000,), rows=100, shard_rows=50, about={})
    found = frostline("store", "prune", *words)
    assert found.code == 0
    assert "old" in left(folder)
    assert f"in use, and left: {KEYS['old'][:12]} (timm/old" in found.out
    assert "in use" in frostline("store", "list").out
    used.close()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--to", "20"], "size 20: a number without a unit"),
        (["--all", "--to", "1GB"], "more than one word of what to remove"),
        (["0"], "key 0: 2 keys begin so"),
        (["0a0x"], "key 0a0x: no such key; "),
        (["--all", "--dir", "file"], None),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_a_mistake_is_one_line_and_removes_nothing(
    frostline: Call, folder: Path, words: list[str], says: str | None
) -> None:
    Path("file").write_text("mine")
    found = frostline("store", "prune", *words)
    assert left(folder) == set(KEYS)
    assert Path("file").read_text() == "mine"
    if says is not None:
        assert found.code == 2
        (line,) = found.err.splitlines()
        assert says in line


def test_no_torch_is_needed_to_know_the_commands(tmp_path: Path) -> None:
    code = "import sys; from frostline.cli import store; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
