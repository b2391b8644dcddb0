"""Pictures that cannot be used are found before training, each with its name and reason, as reading finds them."""

import io
import random

import numpy as np
import pytest
from PIL import Image

from frostline.data import Fault, Samples, faults, find_faults, open_picture, refuse
from frostline.errors import DataError

NOISE = np.random.default_rng(2).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def encoded(kind, pixels=NOISE):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def samples_of(folder, contents):
    paths = []
    for name, content in contents.items():
        paths.append(folder / name)
        paths[-1].write_bytes(content)
    return Samples(source="made", classes=("a",), labels=np.zeros(len(paths), dtype=np.int64), paths=tuple(paths))


def test_every_bad_picture_is_found_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(faults, "_CHUNK", 3)  # more chunks than one
    contents = {
        "good.jpg": encoded("jpeg"),
        "empty.jpg": b"",
        "page.png": b"<html>",
        "cut.jpg": encoded("jpeg")[:-200],
        "good.png": encoded("png"),
        "flipped.png": encoded("png")[:900] + bytes([encoded("png")[900] ^ 8]) + encoded("png")[901:],
        "dot.png": encoded("png", NOISE[:1, :1]),
        "counts.tif": encoded("tiff", NOISE[..., 0].astype(np.float32)),
        "good.tif": encoded("tiff"),
        "gone.png": encoded("png"),
    }
    samples = samples_of(tmp_path, contents)
    (tmp_path / "gone.png").unlink()
    found = find_faults(samples)
    assert [place for place, _ in found] == [1, 2, 3, 5, 6, 7, 9]
    assert all(fault.name == samples.name(place) for place, fault in found)
    reasons = [fault.reason for _, fault in found]
    said = (
        "zero bytes",
        "no kind",
        "truncated",
        "broken",
        "1×1 pixels: nothing to see",
        "no known range",
        "No such",
    )
    for reason, wanted in zip(reasons, said, strict=True):
        assert wanted in reason


def test_pictures_in_memory_have_no_faults():
    pixels = np.zeros((2, 1, 1), np.float32)
    assert find_faults(Samples(source="made", classes=("a",), labels=np.zeros(2, dtype=np.int64), pixels=pixels)) == ()


def test_a_decompression_bomb_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    samples = samples_of(tmp_path, {"big.png": encoded("png"), "small.png": encoded("png", NOISE[:14, :14])})
    assert find_faults(samples) == (
        (0, Fault(str(tmp_path / "big.png"), "a decompression bomb: more than 200 pixels")),
    )


@pytest.mark.parametrize("kind", ["jpeg", "gif", "tiff", "webp", "png"])
def test_what_is_found_is_what_cannot_be_opened(tmp_path, kind):
    """Cut anywhere: what passes can be opened, whole or small, and what cannot be opened is found."""
    whole, draw = encoded(kind), random.Random(1)
    cuts = sorted({draw.randrange(len(whole)) for _ in range(60)} | {len(whole) - 1, len(whole)})
    samples = samples_of(tmp_path, {f"{cut:06}.img": whole[:cut] for cut in cuts})
    found = {place for place, _ in find_faults(samples)}
    for place in range(len(samples)):
        if place in found:
            continue
        open_picture(samples.picture(place))
        open_picture(samples.picture(place), at_least_px=2)
    assert len(cuts) - 1 not in found
    for place in found:
        if kind != "png":  # the checksums of a PNG are compared here alone
            with pytest.raises(DataError):
                open_picture(samples.picture(place))
    assert len(found) > len(cuts) // 2


def test_the_error_lists_every_one_on_a_line_of_its_own():
    bad = [Fault(f"photos/{place}.jpg", "empty: zero bytes") for place in range(1200)]
    error = refuse(bad)
    assert isinstance(error, DataError)
    assert str(error) == (
        "pictures: 1,200 pictures cannot be used. mend or take out what is listed, or write `data.on_bad: skip`"
    )
    assert error.items[0] == "photos/0.jpg: empty: zero bytes"
    assert len(error.items) == 1200
    assert "one picture cannot be used" in str(refuse(bad[:1]))
