"""The whole page, for good, odd and hostile records."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import frostline.report
from frostline.errors import RunError
from frostline.record import RECORD_FILE, RunRecord, read_record, write_json
from frostline.report import REPORT_FILE, render, write_report

from . import records
from .html_page import Page

EVERY = pytest.mark.parametrize("make", records.EVERY.values(), ids=records.EVERY.keys())
SECTIONS = ["frost", "curves", "confusion", "mistakes", "proof", "recipe", "cost"]


def test_the_public_names() -> None:
    assert frostline.report.__all__ == [
        "REPORT_FILE",
        "Arms",
        "arms_from",
        "arms_of",
        "render",
        "said_apart",
        "write_comparison",
        "write_report",
    ]


@EVERY
def test_is_well_formed_with_its_sections_in_order(make) -> None:
    page = Page(render(make()))
    assert [name for name in page.ids if name in SECTIONS] == SECTIONS
    assert len(page.ids) == len(set(page.ids))
    assert {"html", "head", "title", "main", "nav"} <= page.tags


@pytest.mark.parametrize("text", ["<p><b></p></b>", "<p>", "</p>", "<p id='a' id='b'></p>"])
def test_the_reader_of_these_tests_is_strict(text: str) -> None:
    with pytest.raises(AssertionError):
        Page(text)


@EVERY
def test_asks_nothing_of_the_network_and_runs_nothing_but_its_own_script(make) -> None:
    page = Page(render(make()))
    assert [attributes for tag, attributes in page.elements if tag == "script"] == [{}], "the one that sorts"
    assert not page.tags & {"iframe", "object", "embed", "base", "form", "audio", "video", "image"}
    pictures = [attributes["src"] for tag, attributes in page.elements if tag == "img"]
    assert all(re.fullmatch(r"data:image/jpeg;base64,/9j/[A-Za-z0-9+/]+=*", picture) for picture in pictures)
    assert all(target.startswith("#") or target in ("data:,", *pictures) for target in page.points)
    assert all(target[1:] in page.ids for target in page.points if target.startswith("#"))
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert not re.search(r"@import|url\(|https?:|//", "".join(page.styles))
    inline = [attributes["style"] for _, attributes in page.elements if "style" in attributes]
    assert all(re.fullmatch(r"(flex-grow|width|--heat): [0-9.]+%?", style) for style in inline)


def test_a_page_without_addresses_in_its_record_has_none_at_all() -> None:
    text = render(records.record())
    assert not re.search(r"https?://|\bsrc=(?!\"data:image/jpeg;base64,)|@import", text)


@EVERY
def test_every_figure_says_what_it_shows(make) -> None:
    page = Page(render(make()))
    for tag, attributes in page.elements:
        assert (
            tag != "svg" or attributes.get("aria-label") or "aria-hidden" in attributes or not is_outermost(attributes)
        )
    assert all(attributes["alt"] for tag, attributes in page.elements if tag == "img")
    figures = [attributes for _, attributes in page.elements if attributes.get("role") in ("img", "region")]
    assert all(figure.get("aria-label") for figure in figures)


def is_outermost(attributes: dict[str, str]) -> bool:
    """Whether an SVG is a figure: those within it only give a place to a curve or to a mark."""
    return "class" in attributes or "role" in attributes


def test_hostile_words_stay_words() -> None:
    hostile = records.hostile()
    text = render(hostile)
    page = Page(text)
    attack = hostile.name
    assert page.text.count(attack) > 15, "named in the headline, the tables, the proof, the recipe and more"
    assert len(re.findall(r"<script", text)) == 1, "the one that sorts"
    assert "{{ 7 * 7 }}" in page.text
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", text)
    text.encode()


def test_words_of_all_languages_stay_as_they_are() -> None:
    name = "Schneeglöckchen 雪花 זאב 🌷"
    assert name in Page(render(records.record(name=name))).text


@pytest.mark.parametrize(
    "shown",
    [
        "flowers-two-stage",
        "torchvision/mobilenet_v2",
        "The freeze held: 7 of 8 claims hold, none fails, 1 does not apply.",
        "0.924",  # 0.95 - 0.4 · 0.78¹¹, the best validation accuracy
        "epoch 11 of 12, phase 2",
        "0.933",  # the test accuracy
        "3,843 → 2.11 M",
        "2.22 M → 121 k",
        "1 min 20 s",
        "1.42 GiB",
        "21 November 2025, 03:45 UTC",
        "through: stage2",
        "7 of 10 epochs, stopped early",
        "freeze: all",
        "torchvision 0.24.1",
        "devices cpu",
        "2,227,715",
        records.proof()["line"],
    ],
)
def test_a_good_run_shows(shown: str) -> None:
    assert shown in Page(render(records.record())).text


def test_a_broken_freeze_is_unmistakable() -> None:
    page = Page(render(records.broken()))
    assert "The freeze did NOT hold." in page.text
    assert "Failing: held modules in eval; digests before and after." in page.text
    assert "This run FAILED. ProofError: 60 buffers moved" in page.text
    assert "The freeze held" not in page.text
    assert "layer39.bn.running_mean" in page.text
    assert "layer40.bn.running_mean" not in page.text
    assert "… 20 more" in page.text


def test_a_failed_run_without_epochs_says_so_everywhere() -> None:
    text = Page(render(records.failed())).text
    for shown in (
        "This run FAILED. NonFiniteLossError: the loss became NaN in step 3",
        "Not proven: the run failed before all of it was proven.",
        "no epoch was finished",
        "No phase was begun",
        "No epoch was finished",
        "This run judged its network on no set.",
        "This run left no proof.",
        "No time was recorded.",
    ):
        assert shown in text


def test_one_epoch_without_validation() -> None:
    page = Page(render(records.one_epoch()))
    assert "Train loss, last epoch 1.013" in page.text
    assert "There was no validation" in page.text
    assert len(page.all(css_class="chart")) == 1


def test_warnings_stand_before_the_sections() -> None:
    text = Page(render(records.hundred_classes())).text
    assert text.index("2 warnings") < text.index("LayerDrop is random") < text.index("Phase 1")
    assert "warnings" not in Page(render(records.record())).text


def test_renders_the_same_twice() -> None:
    assert render(records.record()) == render(records.record())


@pytest.mark.parametrize("name", [name for name in records.EVERY if name != "hostile"])
def test_writes_the_page_of_a_run_folder(name: str, tmp_path: Path) -> None:
    made: RunRecord = records.EVERY[name]()
    write_json(tmp_path / RECORD_FILE, made.to_json())
    path = write_report(tmp_path)
    assert path == tmp_path / REPORT_FILE
    assert path.read_text(encoding="utf-8") == render(read_record(tmp_path)) == render(made)
    assert sorted(file.name for file in tmp_path.iterdir()) == [RECORD_FILE, REPORT_FILE]


def test_a_folder_without_a_record_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no record\.json there"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_draws_without_torch(tmp_path: Path) -> None:
    write_json(tmp_path / RECORD_FILE, records.record().to_json())
    script = (
        "import sys, pathlib; from frostline.report import write_report; "
        "write_report(pathlib.Path(sys.argv[1])); "
        "sys.exit(', '.join({'torch', 'scipy', 'matplotlib'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
