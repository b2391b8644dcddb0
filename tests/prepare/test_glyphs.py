"""Glyphs: the same from the same seed, counts of 4 × 4 pixels, and every character from several fonts."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from frostline.prepare import render_glyphs
from frostline.prepare.glyphs import CHARACTERS, count_blocks, crop, distort, find_sources, render_master

FEW = "08Ahq"


@pytest.fixture(scope="module")
def few():
    return render_glyphs(per_class=6, seed=3, characters=FEW)


@pytest.fixture(scope="module")
def sources():
    return find_sources(characters=CHARACTERS)


def test_shapes_types_and_classes(few):
    assert few.images.shape == (30, 8, 8)
    assert few.images.dtype == np.uint8
    assert few.labels.dtype == np.int64
    assert few.labels.tolist() == [label for label in range(5) for _ in range(6)]
    assert few.classes == tuple(FEW)


def test_counts_are_of_sixteen_pixels_and_nothing_is_blank(few):
    assert few.images.min() >= 0
    assert 12 < few.images.max() <= 16
    ink = few.images.reshape(len(few.images), -1).mean(1) / 16
    assert ink.min() > 0.05
    assert ink.max() < 0.7
    assert len(np.unique(few.images)) > 10


def test_glyphs_fill_the_full_height(few):
    rows = few.images.sum(2) > 0
    assert rows.all(1).mean() > 0.8


def test_the_seed_decides_everything(few):
    again = render_glyphs(per_class=6, seed=3, characters=FEW)
    other = render_glyphs(per_class=6, seed=4, characters=FEW)
    assert np.array_equal(again.images, few.images)
    assert not np.array_equal(other.images, few.images)
    assert len({image.tobytes() for image in few.images}) == len(few.images)


def test_classes_can_be_told_apart():
    glyphs = render_glyphs(per_class=40, seed=0, characters="0147")
    pixels, half = glyphs.images.reshape(len(glyphs.images), -1).astype(float), np.arange(len(glyphs.images)) % 2 == 0
    means = np.stack([pixels[half & (glyphs.labels == label)].mean(0) for label in range(4)])
    nearest = ((pixels[~half][:, None] - means) ** 2).sum(2).argmin(1)
    assert (nearest == glyphs.labels[~half]).mean() > 0.7


def test_every_character_is_drawn_by_several_fonts(sources):
    assert list(sources) == list(CHARACTERS)
    assert len(set(CHARACTERS)) == 45
    for character, found in sources.items():
        assert len({path for path, _ in found}) >= 5, character
        assert len(set(found)) == len(found)


@pytest.mark.parametrize("font", ["cmsy10.ttf", "cmex10.ttf", "LastResortHE-Regular.ttf"])
def test_fonts_that_draw_other_shapes_are_passed_over(sources, font):
    drawn = {character for character, found in sources.items() if font in {path.name for path, _ in found}}
    # The symbols' capitals are script letters; its other codes, and the brackets' and the boxes', are no characters.
    assert drawn == (set("ABCDEFGHJKLMNPQRSTUVWXYZ") if font == "cmsy10.ttf" else set())


def test_a_master_is_the_distance_to_the_outline(sources):
    path, text = next((path, text) for path, text in sources["H"] if path.name == "DejaVuSans.ttf")
    master = render_master(font_path=path, text=text)
    assert master.shape == (84, 84)
    assert master.dtype == np.float32
    inside = np.argwhere(master > 0)
    assert 62 <= np.ptp(inside[:, 0]) + 1 <= 65
    font = ImageFont.truetype(str(path), 64)
    drawn = Image.new("L", (84, 84))
    ImageDraw.Draw(drawn).text((42, 42), text, fill=255, font=font, anchor="mm")
    assert abs((np.asarray(drawn) > 127).mean() / (64 * 0.729 / 64) ** 2 - (master > 0).mean()) < 0.03
    point, outside = inside[len(inside) // 2], np.argwhere(master <= 0)
    by_hand = np.sqrt(((outside - point) ** 2).sum(1)).min()
    assert master[tuple(point)] == pytest.approx(by_hand, rel=1e-6)


def test_a_blank_is_kept_whole_and_a_box_is_cut_out():
    values = np.full((5, 6), -1.0)
    assert crop(values=values, level=0.0).shape == (5, 6)
    values[1:3, 2:6] = 2.0
    assert crop(values=values, level=0.0).tolist() == [[2.0] * 4] * 2


def test_a_distortion_bends_and_keeps_the_ink(sources):
    path, text = sources["8"][0]
    master, rng = render_master(font_path=path, text=text), np.random.default_rng(0)
    bent = [distort(master=master, rng=rng) for _ in range(5)]
    assert {one.shape for one in bent} == {(72, 72)}
    assert all((one > 0).any() for one in bent)
    assert not np.array_equal(bent[0], bent[1])
    blocks = count_blocks(distance=bent[0], rng=rng)
    assert blocks.shape == (8, 8)


REFUSED = {
    "none of each": ({"per_class": 0}, "got 0 of each"),
    "a negative number": ({"per_class": -3}, "got -3 of each"),
    "a character twice": ({"characters": "0A0"}, "distinct characters, got 1 of each of '0A0'"),
    "no characters": ({"characters": ""}, "got 1 of each of ''"),
    "a character that no font draws": ({"characters": "A\u4e00"}, "no font draws '\u4e00'"),
    "a space": ({"characters": "A "}, "no font draws ' '"),
}


@pytest.mark.parametrize(("words", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_drawn_is_an_error(words, says):
    with pytest.raises(ValueError, match=says):
        render_glyphs(**{"per_class": 1, "seed": 0, **words})
