"""The colours of the page: text can be read on every ground, by day and by night."""

import re
from importlib.resources import files

import pytest

CSS = (files("frostline.report") / "templates" / "style.css").read_text(encoding="utf-8")
SCHEMES = dict(zip(("light", "dark"), re.findall(r":root \{(.*?)\}", CSS, flags=re.DOTALL), strict=True))

Colour = tuple[float, ...]


def palette(scheme: str) -> dict[str, Colour]:
    both = SCHEMES["light"] + (SCHEMES["dark"] if scheme == "dark" else "")
    found = {
        name: tuple(int(hexes[n : n + 2], 16) for n in (0, 2, 4))
        for name, hexes in re.findall(r"--([\w-]+): #(\w{6})", both)
    }
    heats = {name: tuple(map(int, numbers.split())) for name, numbers in re.findall(r"--(heat-\w+): ([\d ]+);", both)}
    return {**found, **heats}


def contrast(one: Colour, other: Colour) -> float:
    """The contrast ratio of WCAG 2.2."""

    def luminance(colour: Colour) -> float:
        shares = [part / 255 for part in colour]
        linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("text", "ground"),
    [(text, ground) for text in ("ink", "muted") for ground in ("ground", "surface", "sunk")]
    + [("good", "surface"), ("ink", "warned"), ("on-bad", "bad-ground"), ("cold-ink", "cold"), ("warm-ink", "warm")],
)
def test_text_can_be_read(scheme: str, text: str, ground: str) -> None:
    colours = palette(scheme)
    assert contrast(colours[text], colours[ground]) >= 4.5


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", ["heat-right", "heat-wrong"])
def test_the_number_in_a_cell_can_be_read_at_every_heat(scheme: str, kind: str) -> None:
    colours = palette(scheme)
    for step in range(11):
        blended = tuple(
            hot * step / 10 + cool * (1 - step / 10)
            for hot, cool in zip(colours[kind], colours["surface"], strict=True)
        )
        assert contrast(colours["ink"], blended) >= 4.5


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("line", [*(f"look-{number}" for number in range(1, 7)), "cold-line", "warm-line"])
def test_lines_stand_out(scheme: str, line: str) -> None:
    colours = palette(scheme)
    assert contrast(colours[line], colours["surface"]) >= 3


def test_what_is_black_on_white_has_the_highest_contrast() -> None:
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
