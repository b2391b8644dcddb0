"""The worst mistakes as pictures: which set, what is said, and what of a record reaches the page."""

import base64
import dataclasses
import re
from io import BytesIO

import pytest
from PIL import Image

from frostline.record import Evaluation, RunRecord
from frostline.report import render
from frostline.report.mistakes import gallery

from . import records
from .html_page import Page

RIGHT = ((3, 0), (0, 2))
WRONG = ((3, 2), (1, 2))


def of(*evaluations: Evaluation) -> RunRecord:
    return records.record(evaluations=evaluations)


def pictures(text: str) -> list[dict[str, str]]:
    return [attributes for tag, attributes in Page(text).elements if tag == "img"]


def test_the_pictures_of_the_record_reach_the_page_in_order() -> None:
    colours = ["red", "green", "blue"]
    mistakes = tuple(records.mistake(n, picture=records.jpeg(40, 30, colour=c)) for n, c in enumerate(colours))
    shown = pictures(render(of(records.evaluation("test", WRONG, mistakes=mistakes))))
    assert len(shown) == 3
    for attributes, colour in zip(shown, colours, strict=True):
        data = base64.b64decode(attributes["src"].removeprefix("data:image/jpeg;base64,"), validate=True)
        drawn, meant = Image.open(BytesIO(data)), Image.new("RGB", (1, 1), colour).getpixel((0, 0))
        assert drawn.size == (40, 30)
        assert drawn.getpixel((20, 15)) == pytest.approx(meant, abs=4)
        assert attributes["alt"] == "Sample of rose, taken for tulip"


def test_a_card_says_truth_prediction_how_sure_and_which_file() -> None:
    mistakes = (
        records.mistake(0, sample="/photos/rose/a.jpg", confidence=0.9876),
        records.mistake(1, sample="/photos/tulip/b.jpg", truth="tulip", predicted="daisy", confidence=0.99999),
    )
    page = Page(render(of(records.evaluation("test", WRONG, mistakes=mistakes))))
    assert "Files are in /photos/" in page.text
    assert "rose → taken for tulip 98.8 % sure rose/a.jpg" in page.text
    assert "tulip → taken for daisy >99.9 % sure tulip/b.jpg" in page.text
    assert [attributes["title"] for attributes in page.all(css_class="file")] == [one.sample for one in mistakes]


VAL = records.evaluation("val", WRONG, mistakes=(records.mistake(1),))
TEST = records.evaluation("test", WRONG, mistakes=(records.mistake(2),))


@pytest.mark.parametrize(
    ("evaluations", "said", "sample"),
    [
        ((VAL, TEST), "the test set", "/photos/rose/IMG_0002.jpg"),
        ((TEST, VAL), "the test set", "/photos/rose/IMG_0002.jpg"),
        ((VAL,), "the validation set", "/photos/rose/IMG_0001.jpg"),
        ((dataclasses.replace(TEST, split="holdout"),), "on holdout", "/photos/rose/IMG_0002.jpg"),
    ],
    ids=["both", "the other way round", "no test", "neither"],
)
def test_one_set_is_shown_and_the_test_set_first(evaluations, said: str, sample: str) -> None:
    found = gallery(of(*evaluations))
    assert said in found.said
    assert [card.sample for card in found.cards] == [sample]


def test_a_faultless_test_set_is_not_replaced_by_the_validation_set() -> None:
    found = gallery(of(VAL, records.evaluation("test", RIGHT)))
    assert found.said == "No mistakes: each of 5 samples of the test set got its class."
    assert not found.cards


@pytest.mark.parametrize(
    ("matrix", "count", "said"),
    [
        (WRONG, 2, "The 2 mistakes on the test set that the network was surest of, out of 3: truth → prediction."),
        (WRONG, 1, "The mistake on the test set that the network was surest of, out of 3: truth → prediction."),
        (WRONG, 3, "All 3 mistakes on the test set, the surest first: truth → prediction."),
        (((3, 0), (1, 2)), 1, "The only mistake on the test set: truth → prediction."),
        ((), 2, "The 2 mistakes on the test set that the network was surest of: truth → prediction."),
        (WRONG, 0, "This record has no samples of mistakes. 3 were made on the test set."),
        (((1, 2), (3,)), 0, "This record has no samples of mistakes."),
        (RIGHT, 0, "No mistakes: each of 5 samples of the test set got its class."),
    ],
    ids=["some", "one of some", "all", "the only one", "no matrix", "an old record", "ragged", "no mistake"],
)
def test_the_sentence(matrix, count: int, said: str) -> None:
    mistakes = tuple(records.mistake(number) for number in range(count))
    text = render(of(records.evaluation("test", matrix, mistakes=mistakes)))
    assert said in Page(text).text
    assert len(pictures(text)) == count


def test_where_nothing_was_judged() -> None:
    assert gallery(of()).said == "No set was judged, so no mistake is known."


@pytest.mark.parametrize(
    "picture",
    [
        "",
        "https://example.org/a.jpg",
        base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode(),
        records.jpeg() + "\n",
        records.jpeg() + '" onerror="alert(1)',
        "/9j/雪",
    ],
    ids=["empty", "an address", "another kind", "a line end", "an attack", "no base64"],
)
def test_what_is_no_jpeg_is_no_picture(picture: str) -> None:
    text = render(of(records.evaluation("test", WRONG, mistakes=(records.mistake(0, picture=picture),))))
    assert not pictures(text)
    assert "no picture rose → taken for tulip" in Page(text).text


def test_long_names_are_cut_on_the_page_and_whole_where_one_points() -> None:
    sample, truth = "/photos/" + "very-" * 40 + "long.jpg", "Über" * 50
    mistakes = (records.mistake(0, sample=sample, truth=truth),)
    found = gallery(of(records.evaluation("test", WRONG, mistakes=mistakes))).cards[0]
    assert len("".join(found.name)) == 48
    assert found.name[-1].endswith("long.jpg")
    assert len(found.truth) == 60
    assert found.sample == sample


def test_names_written_from_right_to_left_do_not_turn_the_arrow_round() -> None:
    mistakes = (records.mistake(0, truth="זאב", predicted="כלב"),)
    text = render(of(records.evaluation("test", WRONG, mistakes=mistakes)))
    assert re.search(r"<bdi>זאב</bdi> <span[^>]*>→</span>.*<bdi[^>]*>כלב</bdi>", text)


def test_the_pixels_of_small_pictures_stay_sharp() -> None:
    style = "".join(Page(render(records.record())).styles)
    rule = re.search(r"\.picture img \{([^}]*)\}", style)
    assert rule
    assert "image-rendering: pixelated" in rule[1]
