"""Colours: whatever the file holds, what is read is the scene as it was drawn, by the formulas of colour science."""

import importlib.util
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from frostline.data import open_picture
from frostline.data.colours import _recolour

STUDY = Path(__file__).parents[2] / "studies/odd_pictures.py"
if not STUDY.is_file():
    pytest.skip("the study that writes odd pictures is not here: studies/odd_pictures.py", allow_module_level=True)
spec = importlib.util.spec_from_file_location("odd_pictures", STUDY)
odd = importlib.util.module_from_spec(spec)
spec.loader.exec_module(odd)

SCENE = odd.scene()
KINDS = {kind.name: kind for kind in odd.odd_kinds(SCENE)}


def encoded(picture, kind, **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("name", KINDS)
def test_every_odd_kind_shows_the_scene(name):
    kind = KINDS[name]
    seen = open_picture(kind.content)
    wanted = SCENE if kind.holds == "colour" else SCENE.convert("L")
    if kind.holds == "black":
        wanted = wanted.point(lambda grey: 255 if grey > 127 else 0)
    assert seen.mode == wanted.mode
    assert seen.size == wanted.size
    difference = np.abs(np.asarray(seen, float) - np.asarray(wanted, float))
    assert difference.mean() < (0.7 if kind.suffix not in ("jpg", "mpo") else 2)  # a JPEG is wrong at edges
    for rows in (slice(8, 20), slice(28, 40), slice(54, 66)):  # the middle of patches and of steps of the wedge
        for left in (46, 70) if rows.start < 50 else range(6, 90, 8):
            assert np.median(difference[rows, left : left + 4]) <= 4


def test_the_check_of_the_scene_sees_what_is_wrong():
    """Every way up but one, and colours that are exchanged, are far from the scene."""
    for wrong in (*[SCENE.transpose(turn) for turn in range(4)], Image.merge("RGB", SCENE.split()[::-1])):
        difference = np.asarray(wrong.resize(SCENE.size), float) - np.asarray(SCENE, float)
        assert np.abs(difference).mean() > 4


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_profiles_hold_for_what_is_transparent_and_for_palettes(mode):
    stored = odd._encoded(SCENE, odd.P3_XY).quantize(200)
    stored = stored if mode == "P" else stored.convert("RGBA")
    seen = open_picture(encoded(stored, "png", icc_profile=odd.profile(odd.P3_XY)))
    difference = np.abs(np.asarray(seen, float) - np.asarray(SCENE, float))
    assert difference.max() <= 6
    without = open_picture(encoded(stored, "png"))
    assert np.abs(np.asarray(without, float) - np.asarray(SCENE, float)).max() > 20


def test_a_profile_of_srgb_leaves_every_bit():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    for own in (profile, odd.profile(odd.SRGB_XY)):
        assert open_picture(encoded(noise, "png", icc_profile=own)).tobytes() == noise.tobytes()
        assert _recolour(own, "RGB") is None


@pytest.mark.parametrize("profile", [b"no profile", odd.profile(odd.P3_XY)[:300], b"\xff" * 3000], ids=str)
def test_a_broken_profile_is_ignored(profile):
    assert open_picture(encoded(SCENE, "png", icc_profile=profile)).tobytes() == SCENE.tobytes()


def test_a_profile_of_colours_is_ignored_by_a_grey_picture():
    grey = SCENE.convert("L")
    assert open_picture(encoded(grey, "png", icc_profile=odd.profile(odd.P3_XY))).tobytes() == grey.tobytes()


def icc(device, space, connection, tags):
    """Write an ICC profile of version 2."""
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    white = struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    head = struct.pack(">I4sI4s4s4s12s4s", at + len(body), b"", 0x02400000, device, space, connection, b"", b"acsp")
    return (head + bytes(28) + white).ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def test_a_grey_profile_says_how_bright_a_grey_is():
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    linear = icc(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": white, b"kTRC": b"curv" + bytes(4) + struct.pack(">I", 0)})
    greys = Image.frombytes("L", (256, 2), bytes(range(256)) * 2)
    seen = open_picture(encoded(greys, "png", icc_profile=linear))
    assert seen.mode == "L"
    light = np.arange(256) / 255
    wanted = 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(np.asarray(seen)[0], wanted, atol=2)


@pytest.mark.parametrize("kind", ["tiff", "jpeg"])
def test_a_print_profile_says_what_the_inks_look_like(kind):
    # All inks of this press are the same grey: L* 100 without, L* 50 with cyan alone, L* 0 with more.
    corners = b"".join(bytes(((255, 128, 128), (0, 128, 128))[corner not in (0, 8)]) for corner in range(16))
    corners = corners[:24] + bytes((128, 128, 128)) + corners[27:]
    same = bytes(range(256))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + identity + same * 4 + corners + same * 3
    profile = icc(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})
    press = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    press.paste((0, 0, 0, 0), (8, 0, 16, 16))
    options = {"quality": 100} if kind == "jpeg" else {}
    seen = np.asarray(open_picture(encoded(press, kind, icc_profile=profile, **options)), float)
    np.testing.assert_allclose(seen[:, 2], 119, atol=4)  # L* 50 is luminance 0.184, sRGB 119
    np.testing.assert_allclose(seen[:, -2], 255, atol=2)
    plain = np.asarray(open_picture(encoded(press, kind, **options)), float)
    np.testing.assert_allclose(plain[:, 2], np.broadcast_to([0, 255, 255], (16, 3)), atol=2)


DEPTHS = {4095: 4, 1023: 2, 16383: 6, 65535: 8, 4000: 8, 100: 8}


@pytest.mark.parametrize(("top", "shift"), DEPTHS.items(), ids=map(str, DEPTHS))
def test_the_largest_value_counts_where_it_is_a_number_of_bits(top, shift):
    values = np.array([[0, 50, top // 2, top]] * 2, dtype=np.uint16)
    seen = open_picture(odd._tiff(Image.fromarray(values), {281: top}))
    assert np.asarray(seen)[0].tolist() == [value >> shift for value in (0, 50, top // 2, top)]


def test_more_than_the_largest_value_is_white():
    seen = open_picture(odd._tiff(Image.fromarray(np.full((2, 2), 60000, np.uint16)), {281: 4095}))
    assert np.asarray(seen).tolist() == [[255, 255]] * 2


@pytest.mark.parametrize("values", [[0.0, 1.0], [0.25, 0.5], [0.0, 0.0]])
def test_floats_from_0_to_1_are_read(values):
    seen = open_picture(encoded(Image.fromarray(np.array([values] * 2, np.float32)), "tiff"))
    assert np.asarray(seen)[0].tolist() == [round(255 * value) for value in values]


@pytest.mark.parametrize("values", [[0, 1.01], [-0.01, 1], [0, float("nan")], [0, float("inf")]], ids=str)
def test_other_floats_have_no_known_range(values):
    from frostline.errors import DataError

    with pytest.raises(DataError, match="no known range"):
        open_picture(encoded(Image.fromarray(np.array([values] * 2, np.float32)), "tiff"))


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "avif"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_the_way_up_is_that_of_the_camera_in_every_format(kind, turn):
    if kind == "avif" and ".avif" not in importlib.import_module("frostline.data.pictures").SUFFIXES:
        pytest.skip("this Pillow reads no AVIF")
    corners = np.zeros((24, 32), np.uint8)
    corners[:12, :16], corners[:12, 16:], corners[12:, :16] = 250, 170, 90
    # By the words of the EXIF standard: the sides of what is seen where row 0 and column 0 of what is stored lie.
    stored = {
        1: corners,  # top, left
        2: corners[:, ::-1],  # top, right
        3: corners[::-1, ::-1],  # bottom, right
        4: corners[::-1],  # bottom, left
        5: corners.T,  # left, top
        6: corners[:, ::-1].T,  # right, top
        7: corners[::-1, ::-1].T,  # right, bottom
        8: corners[::-1].T,  # left, bottom
    }[turn]
    exif = Image.Exif()
    exif[0x0112] = turn
    seen = open_picture(encoded(Image.fromarray(np.ascontiguousarray(stored)).convert("RGB"), kind, exif=exif))
    assert seen.size == (32, 24)
    np.testing.assert_allclose(np.asarray(seen.convert("L"), float), corners, atol=12)


def test_damaged_notes_of_the_camera_count_as_none():
    content = encoded(SCENE, "jpeg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert open_picture(content).size == SCENE.size
    assert open_picture(encoded(SCENE, "png", exif=b"nonsense")).tobytes() == SCENE.tobytes()
