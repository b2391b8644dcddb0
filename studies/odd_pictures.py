"""Write one scene into every odd and broken kind of picture file, read them all, and draw what came out.

Run as `make sheet-odd-pictures`: writes docs/studies/odd_pictures.png and the table of odd_pictures.md.
"""

import io
import struct
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont, TiffImagePlugin

from frostline.data import find_faults, read_samples

PAGE = Path(__file__).parents[1] / "docs/studies/odd_pictures.md"
BEGIN, END = "<!-- table: made by the study, do not edit -->", "<!-- end of table -->"
WIDTH, HEIGHT = 96, 72
SRGB_XY = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
P3_XY = ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06))
ADOBE_XY = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
D65_XY = (0.3127, 0.3290)
D50_XYZ = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@dataclass(frozen=True)
class Kind:
    """One kind of file: its name, what it holds, and what of the scene it can hold (`colour`, `grey`, `black`)."""

    name: str
    suffix: str
    content: bytes
    holds: str = "colour"


def scene() -> Image.Image:
    """Draw what shows every mistake by eye: an F for the way up, patches for colour, a wedge for brightness."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(picture)
    for box in ((8, 6, 14, 44), (8, 6, 32, 12), (8, 22, 26, 28)):
        draw.rectangle(box, fill="black")
    for place, colour in enumerate(((200, 40, 40), (40, 160, 60), (40, 70, 190), (225, 190, 50))):
        left, top = 44 + 24 * (place % 2), 6 + 20 * (place // 2)
        draw.rectangle((left, top, left + 19, top + 15), fill=colour)
    for step in range(11):
        grey = round(step * 25.5)
        draw.rectangle((4 + step * 8, 52, 11 + step * 8, 67), fill=(grey, grey, grey))
    return picture


def odd_kinds(picture: Image.Image) -> list[Kind]:
    """Make the kinds that a person sees the scene in."""
    grey = picture.convert("L")
    deep = np.asarray(grey).astype(np.uint16) * 257
    palette = picture.quantize(64)
    white_at = palette.getpixel((1, 1))
    other = [Image.new("RGB", picture.size, colour) for colour in ("red", "blue")]
    animated = {"save_all": True, "append_images": other, "duration": 200}
    clear = np.dstack([np.asarray(picture), _opacity(picture)])
    clear[clear[..., 3] == 0, :3] = 0  # black where nobody sees it, as many programs leave it
    kinds = [
        Kind("JPEG", "jpg", _file(picture, "jpeg", quality=95)),
        Kind("grey JPEG", "jpg", _file(grey, "jpeg", quality=95), "grey"),
        Kind("black and white PNG", "png", _file(grey.convert("1", dither=Image.Dither.NONE), "png"), "black"),
        Kind("16-bit grey PNG", "png", _file(Image.fromarray(deep), "png"), "grey"),
        Kind("16-bit grey TIFF", "tif", _file(Image.fromarray(deep), "tiff"), "grey"),
        Kind("12 bits in a 16-bit TIFF", "tif", _tiff(Image.fromarray(deep >> 4), {281: 4095}), "grey"),
        Kind("16-bit TIFF, white is zero", "tif", _tiff(Image.fromarray(65535 - deep), {262: 0}), "grey"),
        Kind("float TIFF, 0 to 1", "tif", _file(Image.fromarray(np.float32(deep) / 65535), "tiff"), "grey"),
        Kind("16-bit colour PNG", "png", _sixteen_bit_png(picture)),
        Kind("CMYK JPEG (Adobe)", "jpg", _file(picture.convert("CMYK"), "jpeg", quality=95)),
        Kind("CMYK TIFF", "tif", _file(picture.convert("CMYK"), "tiff")),
        Kind("YCbCr TIFF", "tif", _file(picture.convert("YCbCr"), "tiff")),
        Kind("Lab TIFF", "tif", _file(_lab(picture), "tiff")),
        Kind("palette PNG", "png", _file(palette, "png")),
        Kind("palette, one colour transparent", "png", _file(palette, "png", transparency=white_at)),
        Kind("transparent, black beneath", "png", _file(Image.fromarray(clear), "png")),
        Kind("transparent grey PNG", "png", _file(Image.merge("LA", (grey, grey.point(_faint))), "png"), "grey"),
        Kind("animated GIF", "gif", _file(picture, "gif", **animated)),
        Kind("animated WebP", "webp", _file(picture, "webp", lossless=True, **animated)),
        Kind("animated PNG", "png", _file(picture, "png", **animated)),
        Kind("TIFF of three pages", "tif", _file(picture, "tiff", **animated)),
        Kind("MPO (two JPEGs)", "mpo", _file(picture, "mpo", quality=95, save_all=True, append_images=other[:1])),
        Kind("Display P3 PNG", "png", _file(_encoded(picture, P3_XY), "png", icc_profile=profile(P3_XY))),
        Kind("Adobe RGB JPEG", "jpg", _adobe_jpeg(picture)),
        Kind("broken colour profile", "jpg", _file(picture, "jpeg", quality=95, icc_profile=b"no profile" * 20)),
        Kind("JPEG 2000", "jp2", _file(picture, "jpeg2000")),
    ]
    return kinds + [Kind(f"EXIF orientation {turn}", "jpg", _turned(picture, turn)) for turn in range(2, 9)]


def broken_kinds(picture: Image.Image) -> list[Kind]:
    """Make the kinds that no training should see."""
    jpeg, png, gif = (_file(picture, kind) for kind in ("jpeg", "png", "gif"))
    bomb = png[:16] + struct.pack(">II", 60000, 60000) + png[24:29]
    bomb += struct.pack(">I", zlib.crc32(bomb[12:29])) + png[33:]
    counts = Image.fromarray(np.asarray(picture.convert("L"), np.float32) * 3)
    return [
        Kind("empty file", "jpg", b""),
        Kind("a web page", "jpg", b"<!doctype html><title>404 Not Found</title>"),
        Kind("JPEG cut off", "jpg", jpeg[: len(jpeg) // 2]),
        Kind("PNG cut off", "png", png[: len(png) // 2]),
        Kind("GIF cut off", "gif", gif[: len(gif) // 2]),
        Kind("PNG, one byte flipped", "png", png[:300] + bytes([png[300] ^ 1]) + png[301:]),
        Kind("1×1 pixel", "png", _file(picture.resize((1, 1)), "png")),
        Kind("one pixel high", "png", _file(picture.resize((96, 1)), "png")),
        Kind("decompression bomb", "png", bomb),
        Kind("float TIFF of counts", "tif", _file(counts, "tiff")),
        Kind("HEIC named .jpg", "jpg", struct.pack(">I", 24) + b"ftypheic\0\0\0\0heicmif1"),
    ]


def profile(primaries_xy: tuple[tuple[float, float], ...], *, gamma: float | None = None) -> bytes:
    """Write an ICC profile of a display with these primaries, D65 white and this gamma (None: the curve of sRGB)."""
    columns = (BRADFORD_TO_D50 @ _to_xyz(primaries_xy)).T
    number = struct.Struct(">i")

    def fixed(*values: float) -> bytes:
        return b"".join(number.pack(round(value * 65536)) for value in values)

    curve = (
        b"para" + bytes(4) + struct.pack(">HH", 3, 0) + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
        if gamma is None
        else b"para" + bytes(4) + struct.pack(">HH", 0, 0) + fixed(gamma)
    )
    text = "odd pictures".encode("utf-16-be")
    words = b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(text), 28) + text
    tags = {b"desc": words, b"cprt": words, b"wtpt": b"XYZ " + bytes(4) + fixed(*D50_XYZ)}
    for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True):
        tags[name] = b"XYZ " + bytes(4) + fixed(*column)
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, at + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", at + len(body), bytes(4), 0x04300000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + fixed(*D50_XYZ)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def write_folder(folder: Path) -> dict[str, Kind]:
    """Write every kind into class folders `odd` and `broken`, with links in the second; give kinds by file name."""
    picture, kinds = scene(), {}
    for name, made in (("odd", odd_kinds(picture)), ("broken", broken_kinds(picture))):
        (folder / name).mkdir(parents=True)
        for place, kind in enumerate(made):
            path = folder / name / f"{place:02}.{kind.suffix}"
            path.write_bytes(kind.content)
            kinds[str(path)] = kind
    elsewhere = folder.parent / "elsewhere.png"
    picture.save(elsewhere)
    for name, target in (("link out of the folder", elsewhere), ("link to nothing", folder.parent / "gone.png")):
        path = folder / "broken" / f"{name}.png"
        path.symlink_to(target)
        kinds[str(path)] = Kind(name, "png", b"")
    return kinds


def what_happened(folder: Path, kinds: dict[str, Kind]) -> list[tuple[Kind, Image.Image | None, str]]:
    """Read the folder as a training does: of each kind the picture, or none, and what happened in words."""
    samples = read_samples(folder)
    faults = dict(find_faults(samples))
    told = {fault.name: fault.reason for fault in (*samples.faults, *faults.values())}
    rows: dict[str, tuple[Kind, Image.Image | None, str]] = {}
    for index in range(len(samples)):
        if index not in faults:
            picture, name = samples.open(index), samples.name(index)
            rows[name] = kinds[name], picture, f"read, {'grey' if picture.mode == 'L' else 'colour'}"
    for name, reason in told.items():
        rows[name] = kinds[name], None, reason.replace(str(folder.parent), "…")
    return [rows[name] for name in kinds]


def draw_sheet(rows: list[tuple[Kind, Image.Image | None, str]], *, columns: int = 7) -> Image.Image:
    """Draw the contact sheet: each picture as it was read, its kind, what happened."""
    cell, font = (176, 150), ImageFont.truetype(findfont("DejaVu Sans"), 10)
    sheet = Image.new("RGB", (cell[0] * columns, cell[1] * -(-len(rows) // columns)), (214, 220, 226))
    draw = ImageDraw.Draw(sheet)
    for place, (kind, picture, said) in enumerate(rows):
        left, top = place % columns * cell[0] + 8, place // columns * cell[1] + 8
        if picture is not None:
            sheet.paste(picture.convert("RGB"), (left, top))
        else:
            draw.rectangle((left, top, left + WIDTH - 1, top + HEIGHT - 1), outline=(150, 60, 50))
            draw.line((left, top, left + WIDTH - 1, top + HEIGHT - 1), fill=(150, 60, 50))
        draw.text((left, top + HEIGHT + 4), kind.name, fill="black", font=font)
        fill = (30, 90, 50) if picture is not None else (150, 40, 30)
        draw.multiline_text((left, top + HEIGHT + 19), _wrapped(said, font), fill=fill, font=font, spacing=1)
    return sheet


def main() -> None:
    """Make the sheet and the table."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "pictures"
        rows = what_happened(folder, write_folder(folder))
    draw_sheet(rows).quantize(128).save(PAGE.with_suffix(".png"), optimize=True)
    lines = ["| kind | what happened |", "| --- | --- |", *(f"| {kind.name} | {said} |" for kind, _, said in rows)]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    table = "\n".join(lines)
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    print(table)


def _file(picture: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def _tiff(picture: Image.Image, tags: dict[int, int]) -> bytes:
    """Write a TIFF with tags that Pillow would set itself."""
    content = bytearray(_file(picture, "tiff", tiffinfo={tag: value for tag, value in tags.items() if tag == 281}))
    if 262 in tags:  # the tag, its type (3: 16 bits) and count, then the value
        entry = struct.pack("<HHI", TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 3, 1)
        content[content.index(entry) + 8] = tags[262]
    return bytes(content)


def _sixteen_bit_png(picture: Image.Image) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = (np.asarray(picture).astype(">u2") * 257).astype(">u2")
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    head = struct.pack(">IIBBBBB", *picture.size, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def _lab(picture: Image.Image) -> Image.Image:
    """Bring sRGB into Lab of the D50 white, by the formula of the CIE."""
    xyz = _linear(picture) @ (BRADFORD_TO_D50 @ _to_xyz(SRGB_XY)).T / D50_XYZ
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    lightness = (116 * root[..., 1] - 16) * 2.55
    a, b = 500 * (root[..., 0] - root[..., 1]), 200 * (root[..., 1] - root[..., 2])
    values = np.rint(np.dstack([lightness, a, b])).astype(np.int16).astype(np.uint8)  # a and b have signs
    return Image.frombytes("LAB", picture.size, values.tobytes())


def _opacity(picture: Image.Image) -> np.ndarray:
    return np.where(np.asarray(picture).min(axis=2) == 255, 0, 255).astype(np.uint8)


def _faint(grey: int) -> int:
    """Make what is white transparent."""
    return 0 if grey == 255 else 255


def _turned(picture: Image.Image, turn: int) -> bytes:
    """Store the picture as a camera would that noted this orientation: turned back by it."""
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = turn
    return _file(picture.transpose(back[turn]), "jpeg", quality=95, exif=exif)


def _adobe_jpeg(picture: Image.Image) -> bytes:
    encoded = _encoded(picture, ADOBE_XY, gamma=2.19921875)
    return _file(encoded, "jpeg", quality=95, icc_profile=profile(ADOBE_XY, gamma=2.19921875))


def _linear(picture: Image.Image) -> np.ndarray:
    values = np.asarray(picture) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _encoded(
    picture: Image.Image, primaries_xy: tuple[tuple[float, float], ...], *, gamma: float | None = None
) -> Image.Image:
    """Write the same colours in another colour space, by the formulas of IEC 61966-2-1."""
    light = (_linear(picture) @ (np.linalg.inv(_to_xyz(primaries_xy)) @ _to_xyz(SRGB_XY)).T).clip(0, 1)
    curve = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return Image.fromarray(np.rint(255 * (curve if gamma is None else light ** (1 / gamma))).astype(np.uint8))


def _to_xyz(primaries_xy: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Give the matrix from linear light of these primaries with D65 white to XYZ."""
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in primaries_xy]).T
    return columns * np.linalg.solve(columns, D65_XYZ)


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if font.getlength(longer) < 162 else [*lines, word]
    return "\n".join(lines)


D65_XYZ = np.array([D65_XY[0] / D65_XY[1], 1.0, (1 - sum(D65_XY)) / D65_XY[1]])
BRADFORD_TO_D50 = np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ D50_XYZ) / (BRADFORD @ D65_XYZ)) @ BRADFORD

if __name__ == "__main__":
    main()
