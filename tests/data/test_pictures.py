"""One picture: every kind of file gives what torchvision's transforms give, as a person sees it; damage is an error."""

import io
import random
import re
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from torchvision import transforms

from frostline.backbones import InputSpec
from frostline.data import pictures
from frostline.data.pictures import QUIET, SUFFIXES, open_picture, read_picture, readable_suffixes, stretch, to_input
from frostline.errors import DataError

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
    "gif": (COLOURS.quantize(16), "gif", {}),
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
    "two by two": (Image.fromarray(noise(2, 2, 3)), "png", {}),
}
TRANSPARENT = {
    "palette, one colour": (COLOURS.quantize(16), "png", {"transparency": 3}),
    "palette, degrees": (COLOURS.quantize(16), "png", {"transparency": bytes(range(0, 256, 16))}),
    "gif": (COLOURS.quantize(16), "gif", {"transparency": 3}),
    "colours": (Image.fromarray(noise(17, 23, 4)), "png", {}),
    "webp": (Image.fromarray(noise(17, 23, 4)), "webp", {"lossless": True, "exact": True}),
    "tiff": (Image.fromarray(noise(17, 23, 4)), "tiff", {}),
    "grey": (Image.fromarray(noise(17, 23, 2)), "png", {}),
    "one grey": (Image.fromarray(noise(17, 23) // 16), "png", {"transparency": 7}),
    "one colour": (Image.fromarray(noise(17, 23, 3) // 128 * 200), "png", {"transparency": (200, 0, 200)}),
    "black is transparent": (Image.fromarray(noise(17, 23) > 99), "png", {"transparency": 0}),
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


def spoiled(kind, height=20, width=20):
    stream = io.BytesIO()
    Image.fromarray(noise(height, width, 3)).save(stream, kind)
    return stream.getvalue()


def by_hand(path, spec):
    """Read as a loop reads that a person writes, one step after the other."""
    with Image.open(path) as opened:
        picture = opened.convert("L" if spec.channels == "grey" else "RGB")
    picture = picture.resize((spec.size_px, spec.size_px), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, dtype=np.float32) / np.float32(255)
    pixels = pixels[:, :, None] if spec.channels == "grey" else pixels
    pixels = pixels[:, :, ::-1] if spec.channels == "bgr" else pixels
    normalised = (pixels - np.float32(spec.mean)) / np.float32(spec.std)
    return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))


@pytest.mark.parametrize("channels", SPECS)
@pytest.mark.parametrize("name", ["colours", "grey", "jpeg", "larger", "smaller", "bmp", "palette"])
def test_plain_pictures_are_read_to_the_bit_as_by_hand(tmp_path, name, channels):
    path = written(tmp_path / "picture.any", *PICTURES[name])
    assert torch.equal(read_picture(path, SPECS[channels]), by_hand(path, SPECS[channels]))
    assert torch.equal(read_picture(path.read_bytes(), SPECS[channels]), by_hand(path, SPECS[channels]))


@pytest.mark.parametrize(("picture", "kind", "options"), TRANSPARENT.values(), ids=TRANSPARENT.keys())
def test_what_is_transparent_is_seen_on_white(tmp_path, picture, kind, options):
    path = written(tmp_path / "picture.any", picture, kind, options)
    with Image.open(path) as opened:
        rgba = np.asarray(opened.convert("RGBA")).astype(float)
    assert rgba[..., 3].min() < 255
    share = rgba[..., 3:] / 255
    seen = open_picture(path)
    wanted = rgba[..., :3] * share + 255 * (1 - share)
    np.testing.assert_allclose(np.asarray(seen.convert("RGB")), wanted, atol=1)
    assert seen.mode == ("L" if picture.mode in ("L", "LA", "1") else "RGB")


def test_a_deep_grey_that_is_transparent_is_white(tmp_path):
    deep = np.array([[0, 300, 40000], [300, 65535, 9]], dtype=np.uint16)
    path = written(tmp_path / "deep.png", Image.fromarray(deep), "png", {"transparency": 300})
    assert np.asarray(open_picture(path)).tolist() == [[0, 255, 156], [255, 255, 0]]


@pytest.mark.parametrize(("name", "mode"), [("grey", "L"), ("black and white", "L"), ("pgm", "L"), ("jpeg", "RGB")])
def test_grey_pictures_stay_grey(tmp_path, name, mode):
    assert open_picture(written(tmp_path / "picture.any", *PICTURES[name])).mode == mode


def smooth(width, height):
    """Make a picture with no more detail than a photograph has."""
    small = Image.fromarray(np.random.default_rng(1).integers(0, 256, (height // 20, width // 20, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(("at_least_px", "size"), [(None, (1200, 900)), (200, (1200, 900)), (100, (600, 450))])
def test_a_large_jpeg_comes_smaller_but_three_times_what_is_needed(tmp_path, at_least_px, size):
    path = written(tmp_path / "photo.jpg", smooth(1200, 900), "jpeg", {"quality": 90})
    picture = open_picture(path, at_least_px=at_least_px)
    assert picture.size == size
    with Image.open(path) as opened:
        whole = opened.convert("RGB").resize((100, 100), Image.Resampling.BILINEAR)
    reduced = picture.resize((100, 100), Image.Resampling.BILINEAR)
    difference = np.abs(np.asarray(reduced, float) - np.asarray(whole, float))
    assert difference.mean() < 0.5
    assert difference.max() <= 4


def test_a_png_comes_whole_whatever_is_needed(tmp_path):
    assert open_picture(written(tmp_path / "p.png", smooth(400, 200), "png", {}), at_least_px=2).size == (400, 200)


DAMAGED = {
    "text": (b"no picture", "no kind of picture is like it"),
    "empty": (b"", "empty: zero bytes"),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(50), "the package pillow-heif: pip install pillow-heif"),
    "postscript, which Pillow would run": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no kind of picture"),
    "one pixel": (spoiled("png", 1, 1), "1×1 pixels: nothing to see"),
    "one pixel high": (spoiled("jpeg", 1, 30), "30×1 pixels: nothing to see"),
    "one pixel wide": (spoiled("gif", 30, 1), "1×30 pixels: nothing to see"),
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
    with pytest.raises(DataError, match=re.escape(says)) as caught:
        open_picture(content)
    assert str(caught.value).startswith(f"picture of {len(content):,} bytes: it cannot be read (")


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


def test_a_large_picture_below_the_limit_is_read_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    path = written(tmp_path / "big.png", Image.new("L", (15, 15)), "png", {})
    with pytest.warns(Image.DecompressionBombWarning), Image.open(path):
        pass  # else this test could not fail
    assert open_picture(path).size == (15, 15)


def test_warnings_of_others_and_the_filters_of_the_user_stay_as_they_are():
    before = list(warnings.filters)
    with QUIET:
        with pytest.warns(UserWarning, match="mine"):
            warnings.warn("mine", stacklevel=1)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: open_picture(spoiled("png")), range(40)))
    assert warnings.filters == before


@pytest.mark.parametrize("kind", ["bmp", "gif", "jpeg", "jpeg2000", "png", "ppm", "tiff", "webp"])
def test_whatever_is_damaged_it_is_a_picture_or_an_error_of_ours(kind):
    draw, whole, refused = random.Random(3), spoiled(kind), 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(draw.choice([1, 1, 3, 10])):
            damaged[draw.randrange(min(len(damaged), draw.choice([30, 200, 9999])))] = draw.randrange(256)
        content = bytes(damaged[: draw.choice([len(damaged), draw.randrange(len(damaged))])])
        try:
            assert read_picture(content, RGB).shape == (3, 10, 10)
        except DataError:
            refused += 1
    assert refused > 20


def test_every_suffix_is_one_that_pillow_reads():
    Image.init()
    readable = {suffix for suffix, kind in Image.EXTENSION.items() if kind in Image.OPEN}
    assert readable | {".mpo"} >= SUFFIXES  # Pillow reads MPO as the JPEG that it begins with
    assert readable_suffixes() == SUFFIXES


def test_heic_is_read_where_pillow_can(monkeypatch):
    asked = []
    heif = ModuleType("pillow_heif")
    heif.register_heif_opener = lambda: asked.append(Image.register_open("HEIF", Image.OPEN["PNG"][0]))
    heif.__spec__ = ModuleSpec("pillow_heif", None)
    monkeypatch.setitem(sys.modules, "pillow_heif", heif)
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    pictures._formats.cache_clear()
    try:
        assert readable_suffixes() == SUFFIXES | {".heic", ".heif"}
        assert readable_suffixes() == SUFFIXES | {".heic", ".heif"}
        assert len(asked) == 1
    finally:
        pictures._formats.cache_clear()


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
