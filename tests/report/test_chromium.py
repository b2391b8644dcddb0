"""The page in a real browser: it fits the screen, and no script runs in it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from frostline.report import render

from . import records

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
MEASURE = (
    "<script>document.querySelectorAll('details').forEach(one => one.open = true);"
    "parent.postMessage(`${innerWidth} wide, ${document.documentElement.scrollWidth} needed`, '*')</script></body>"
)
# In a frame, because a window of Chromium is never narrower than 500 pixels.
FRAME = (
    "<!doctype html><title>no script ran</title><script>onmessage = told => document.title = told.data</script>"
    "<iframe src='page.html' style='border: 0; width: {width}px; height: 900px'></iframe>"
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")


def load(text: str, folder: Path, *, width: int) -> str:
    """Load a page on a screen of a width and give what it tells."""
    (folder / "page.html").write_text(text, encoding="utf-8")
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(width=width), encoding="utf-8")
    quiet = ("no-first-run", "disable-background-networking", "disable-component-update", "disable-sync")
    done = subprocess.run(
        [
            str(CHROMIUM),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
            *(f"--{flag}" for flag in quiet),
            f"--user-data-dir={folder / 'profile'}",
            "--window-size=1400,1000",
            "--virtual-time-budget=3000",
            "--dump-dom",
            frame.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r"<title>(.*?)</title>", done.stdout, flags=re.DOTALL)
    assert found, f"no page came back: {done.stdout[:300]}"
    return found[1]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["good", "hundred classes", "unbroken", "gradual"])
def test_nothing_hangs_over_the_edge(name: str, width: int, tmp_path: Path) -> None:
    text = POLICY.sub("", render(records.EVERY[name]())).replace("</body>", MEASURE)
    assert load(text, tmp_path, width=width) == f"{width} wide, {width} needed"


def test_a_page_too_wide_is_noticed(tmp_path: Path) -> None:
    text = f"<!doctype html><title>x</title><body style='margin:0'><p style='width: 700px'>wide</p>{MEASURE}"
    assert load(text, tmp_path, width=390) == "390 wide, 700 needed"


def test_the_policy_of_the_page_stops_every_script(tmp_path: Path) -> None:
    text = render(records.record()).replace("</body>", MEASURE)
    assert load(text, tmp_path, width=1280) == "no script ran"


PICTURES = (
    "<script>onload = () => parent.postMessage([...document.images].map(one => `${one.naturalWidth} wide, "
    "${one.clientWidth} by ${one.clientHeight} drawn, ${getComputedStyle(one).imageRendering}`).join('; '), '*')"
    "</script></body>"
)


@pytest.mark.parametrize("width", [1280, 360])
def test_the_policy_of_the_page_lets_its_pictures_in(width: int, tmp_path: Path) -> None:
    mistakes = (records.mistake(0), records.mistake(1, picture=records.jpeg(8, 8)))
    made = records.record(evaluations=(records.evaluation("test", ((1, 2), (0, 1)), mistakes=mistakes),))
    policy = "default-src 'none'; "
    text = render(made)
    assert policy in text
    text = text.replace(policy, f"{policy}script-src 'unsafe-inline'; ").replace("</body>", PICTURES)
    drawn = "128 by 128 drawn, pixelated"
    assert load(text, tmp_path, width=width) == f"128 wide, {drawn}; 8 wide, {drawn}"


def test_a_picture_that_the_policy_keeps_out_is_noticed(tmp_path: Path) -> None:
    text = render(records.record()).replace("img-src data:", "script-src 'unsafe-inline'").replace("</body>", PICTURES)
    assert load(text, tmp_path, width=1280).startswith("0 wide")
