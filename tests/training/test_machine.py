"""What a run computed on, and the memory that it took."""

import subprocess
import sys
from pathlib import Path

import pytest

from frostline.training import forget_peak_rss, peak_rss_mb

# In a process of its own: here, what is freed may be kept for the next tensor.
PROGRAM = """
from frostline.training import forget_peak_rss, peak_rss_mb
forget_peak_rss()
before = peak_rss_mb()
block = b"x" * (300 * 2**20)
high = peak_rss_mb()
assert high > before + 250, (before, high)
del block
forget_peak_rss()
assert peak_rss_mb() < high - 200, (high, peak_rss_mb())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak can be forgotten on Linux alone")
def test_the_peak_is_that_of_one_run_after_another() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_elsewhere_the_peak_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_STATUS", "_FORGET"):
        monkeypatch.setattr(sys.modules["frostline.training.machine"], name, Path("no such folder/file"))
    forget_peak_rss()
    assert peak_rss_mb() > 10
