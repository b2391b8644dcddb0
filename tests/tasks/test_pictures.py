"""One picture: every kind of file gives what torchvision's transforms give, and a damaged one is an error."""

import io
import random
import re

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from torchvision import transforms

from frostline.backbones import InputSpec
from frostline.errors import DataError
from frostline.tasks.pictures import SUFFIXES, read_picture, stretch, to_input

RGB = InputSpec(size_px=10, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))
BGR = InputSpec(size_px=10, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3), channels="bgr")
GREY = InputSpec(size_px=10, mean=(0.3,), std=(0.5,), channels="grey")
SPECS = {"rgb": RGB, "bgr": BGR, "grey": GREY}


def noise(*shape):
    return np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)


COLOURS = Image.fromarray(noise(17, 23, 3))
PICTURES = {
    "colours": (COLOURS, "png", {}),
    "grey": (Image.fromarray(noise(17, 23)), "png", {}),
    "palette": (COLOURS.quantize(16), "png", {}),
    "palette, one colour transparent": (COLOURS.quantize(16), "png", {"transparency": 3}),
    "palette, degrees of transparency": (COLOURS.quantize(16), "png", {"transparency": bytes(range(0, 256, 16))}),
    "gif": (COLOURS.quantize(16), "gif", {"transparency": 3}),
    "transparent": (Image.fromarray(noise(17, 23, 4)), "png", {}),
    "grey, transparent": (Image.fromarray(noise(17, 23, 2)), "png", {}),
    "black and white": (Image.fromarray(noise(17, 23) > 99), "png", {}),
    "jpeg": (COLOURS, "jpeg", {}),
    "jpeg for print": (Image.fromarray(noise(17, 23, 3)).convert("CMYK"), "jpeg", {}),
    "webp": (COLOURS, "webp", {"lossless": True}),
    "bmp": (COLOURS, "bmp", {}),
    "pgm": (Image.fromarray(noise(17, 23)), "ppm", {}),
    "tiff": (COLOURS, "tiff", {}),
    "larger": (Image.fromarray(noise(101, 64, 3)), "png", {}),
    "smaller": (Image.fromarray(noise(3, 5, 3)), "png", {}),
    "of that size": (Image.fromarray(noise(10, 10, 3)), "png", {}),
    "one pixel": (Image.fromarray(noise(1, 1, 3)), "png", {}),
}


def written(path, picture, kind, options):
    picture.save(path, kind, **options)
    return path


@pytest.mark.parametrize("channels", SPECS)
@pytest.mark.parametrize(("picture", "kind", "options"), PICTURES.values(), ids=PICTURES.keys())
def test_it_is_what_torchvision_makes_of_it(tmp_path, picture, kind, options, channels):
    spec, path = SPECS[channels], written(tmp_path / "picture.any", picture, kind, options)
    steps = [transforms.Resize((10, 10), antialias=True), transforms.ToTensor()]
    with Image.open(path) as opened:
        opened.load()
        plain = opened.convert("RGBA") if opened.mode == "P" else opened
        seen = transforms.Compose(steps)(plain.convert("L" if channels == "grey" else "RGB"))
    if channels == "bgr":
        seen = seen.flip(0)
    wanted = transforms.Normalize(spec.mean, spec.std)(seen)
    given = read_picture(path, spec)
    assert given.dtype == torch.float32
    assert given.is_contiguous()
    torch.testing.assert_close(given, wanted, rtol=1e-5, atol=1e-6)


def test_each_channel_has_its_own_mean_and_place(tmp_path):
    path = written(tmp_path / "p.png", Image.new("RGB", (4, 4), (255, 102, 0)), "png", {})
    assert read_picture(path, RGB)[:, 0, 0].tolist() == pytest.approx([6.0, -0.5, -2.0], abs=1e-5)
    assert read_picture(path, BGR)[:, 0, 0].tolist() == pytest.approx([-4.0, -0.5, 4 / 3], abs=1e-5)
    luma = (0.299 * 255 + 0.587 * 102) / 255
    assert read_picture(path, GREY).flatten()[0] == pytest.approx((luma - 0.3) / 0.5, abs=2 / 255)


@pytest.mark.parametrize("channels", SPECS)
@pytest.mark.parametrize(("kind", "suffix"), [("png", "png"), ("tiff", "tif"), ("ppm", "pgm")])
def test_sixteen_bits_are_brought_to_eight(tmp_path, kind, suffix, channels):
    deep = np.linspace(0, 65535, 17 * 23).reshape(17, 23).astype(np.uint16)
    path = written(tmp_path / f"deep.{suffix}", Image.fromarray(deep), kind, {})
    shallow = written(tmp_path / "shallow.png", Image.fromarray((deep >> 8).astype(np.uint8)), "png", {})
    assert torch.equal(read_picture(path, SPECS[channels]), read_picture(shallow, SPECS[channels]))


def spoiled(kind):
    stream = io.BytesIO()
    Image.fromarray(noise(20, 20, 3)).save(stream, kind)
    return stream.getvalue()


DAMAGED = {
    "text": (b"no picture", "no kind of picture is like it"),
    "empty": (b"", "no kind of picture is like it"),
    "random": (random.Random(0).randbytes(500), "no kind of picture is like it"),
    "a page": (b"<!doctype html><title>404</title>", "no kind of picture is like it"),
    "half a png": (spoiled("png")[:600], "it cannot be read ("),
    "half a jpeg": (spoiled("jpeg")[:600], "it cannot be read ("),
    "half a gif": (spoiled("gif")[:300], "it cannot be read ("),
    "half a webp": (spoiled("webp")[:200], "it cannot be read ("),
    "half a tiff": (spoiled("tiff")[:200], "it cannot be read ("),
    "a png with another sum": (spoiled("png").replace(b"IDAT", b"IDAX"), "it cannot be read ("),
}


@pytest.mark.parametrize(("content", "says"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_picture_is_an_error_that_names_it(tmp_path, content, says):
    path = tmp_path / "some picture.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(says)) as caught:
        read_picture(path, RGB)
    assert str(caught.value).startswith(f"picture {path}: it cannot be read (")
    assert str(caught.value).endswith("). mend it or take it out")
    assert "\n" not in str(caught.value)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("values", [np.float32, np.int32])
def test_values_of_no_known_range_are_refused(tmp_path, values):
    path = written(tmp_path / "deep.tif", Image.fromarray(noise(4, 4).astype(values)), "tiff", {})
    with pytest.raises(DataError, match="its values have 32 bits and no known range"):
        read_picture(path, RGB)


def test_a_missing_or_giant_picture_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="No such file"):
        read_picture(tmp_path / "gone.png", RGB)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = written(tmp_path / "big.png", Image.new("L", (15, 15)), "png", {})
    with pytest.raises(DataError, match="decompression bomb"):
        read_picture(path, RGB)


@pytest.mark.filterwarnings("ignore")  # of what Pillow says about damaged files
@pytest.mark.parametrize("kind", ["bmp", "gif", "jpeg", "png", "ppm", "webp"])
def test_whatever_is_damaged_it_is_a_picture_or_an_error_of_ours(tmp_path, kind):
    draw, whole, path, refused = random.Random(3), spoiled(kind), tmp_path / "p", 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(draw.choice([1, 1, 3, 10])):
            damaged[draw.randrange(min(len(damaged), draw.choice([30, 200, 9999])))] = draw.randrange(256)
        path.write_bytes(damaged[: draw.choice([len(damaged), draw.randrange(len(damaged))])])
        try:
            assert read_picture(path, RGB).shape == (3, 10, 10)
        except DataError:
            refused += 1
    assert refused > 20


def test_every_suffix_is_one_that_pillow_reads():
    Image.init()
    readable = {suffix for suffix, kind in Image.EXTENSION.items() if kind in Image.OPEN}
    assert readable >= SUFFIXES


@pytest.mark.parametrize("size_px", [8, 5, 13])
def test_pixels_in_memory_are_stretched_as_files_are(tmp_path, size_px):
    pixels = noise(8, 8)
    spec = InputSpec(size_px=size_px, mean=(0.3,), std=(0.5,), channels="grey")
    path = written(tmp_path / "p.png", Image.fromarray(pixels), "png", {})
    given = to_input(stretch((pixels / 255).astype(np.float32), size_px), spec)
    assert given.shape == (1, size_px, size_px)
    # Pillow rounds files to whole counts after each of its two passes.
    torch.testing.assert_close(given, read_picture(path, spec), rtol=0, atol=1.01 / 255 / 0.5)


@pytest.mark.parametrize(("channels", "num_channels"), [("grey", 1), ("rgb", 3), ("bgr", 3)])
def test_grey_pixels_are_repeated_where_three_channels_are_taken(channels, num_channels):
    pixels = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
    given = to_input(pixels, SPECS[channels])
    assert given.shape == (num_channels, 10, 10)
    for channel, mean, std in zip(given, SPECS[channels].mean, SPECS[channels].std, strict=True):
        np.testing.assert_allclose(channel.numpy(), (pixels - mean) / std, rtol=1e-5, atol=1e-6)
