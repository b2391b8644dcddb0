"""A way to call commands, in a folder of their own."""

from pathlib import Path

import pytest

from .commands import Call, caller


@pytest.fixture
def frostline(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return caller(monkeypatch, capsys)
