"""Skipped pictures and augmentation: what was left out, and what was done to the rest."""

import json
from pathlib import Path

import pytest

from frostline.record import RECORD_FILE, Skipped, read_record
from frostline.report import render, write_report
from frostline.report.skipped import LISTED_MOST, UNFOLDED_MOST, left_out

from . import records
from .html_page import Page


def skipped(count: int) -> tuple[Skipped, ...]:
    return tuple(Skipped(name=f"/photos/rose/{n:05}.jpg", reason=f"reason {n}.") for n in range(count))


def details(page: Page, summary: str) -> bool:
    return "details" in page.tags and summary in page.text


def test_names_and_reasons_are_listed() -> None:
    text = Page(render(records.record())).text
    assert "2 pictures could not be used and took no part in this run. Files are in /photos/" in text
    assert "rose/empty.jpg empty: zero bytes" in text
    assert "tulip/cut.jpg image file is truncated" in text


def test_one_is_one() -> None:
    text = Page(render(records.record(skipped=skipped(1)))).text
    assert "1 picture could not be used" in text
    assert "00000.jpg reason 0." in text


def test_where_nothing_was_skipped_nothing_is_said() -> None:
    page = Page(render(records.record(skipped=())))
    assert "skipped" not in page.ids
    assert "Skipped" not in page.text
    assert "#skipped" not in page.points
    assert "#skipped" in Page(render(records.record())).points


@pytest.mark.parametrize(("count", "folded"), [(UNFOLDED_MOST, False), (UNFOLDED_MOST + 1, True)])
def test_a_long_list_is_folded(count: int, folded: bool) -> None:
    page = Page(render(records.record(skipped=skipped(count))))
    assert details(page, "Which, and why") == folded
    for number in range(count):
        assert f"{number:05}.jpg reason {number}." in page.text


def test_an_endless_list_ends_and_says_so() -> None:
    found = left_out(records.record(skipped=skipped(LISTED_MOST + 1_234)))
    assert (found.count, len(found.listed), found.more) == (LISTED_MOST + 1_234, LISTED_MOST, 1_234)
    text = Page(render(records.record(skipped=skipped(LISTED_MOST + 1_234)))).text
    assert f"{LISTED_MOST + 1_234:,} pictures could not be used" in text
    assert "1,234 more are in record.json" in text
    assert f"reason {LISTED_MOST - 1}." in text
    assert f"reason {LISTED_MOST}." not in text
    assert "more are in record.json" not in Page(render(records.record(skipped=skipped(LISTED_MOST)))).text


def test_the_augmentation_is_listed_in_order_with_its_arguments() -> None:
    changes = ("FramedCrop(size=[96, 96], scale=(0.35, 1.0))", "RandomApply(\n    Blur(3)\n)", "MixUp(alpha=0.2)")
    text = render(records.record(augmentation=changes))
    assert "Augmentation: 3 random changes to training samples, with all arguments" in Page(text).text
    places = [text.index(change) for change in changes]
    assert text.index('id="recipe"') < places[0] < places[1] < places[2] < text.index('id="cost"')
    assert "1 random change to" in Page(render(records.record(augmentation=changes[:1]))).text


def test_without_augmentation_the_recipe_stands_alone() -> None:
    assert "Augmentation" not in Page(render(records.record(augmentation=()))).text


def test_a_record_from_before_these_fields_still_has_its_page(tmp_path: Path) -> None:
    content = json.loads(json.dumps(records.record().to_json()))
    for name in ("augmentation", "skipped", "digests"):
        del content[name]
    for evaluation in content["evaluations"]:
        del evaluation["mistakes"]
    (tmp_path / RECORD_FILE).write_text(json.dumps(content), encoding="utf-8")
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "This record has no samples of mistakes. 8 were made on the test set." in page.text
    assert {"img"}.isdisjoint(page.tags)
    assert "skipped" not in page.ids
    assert read_record(tmp_path).skipped == ()
