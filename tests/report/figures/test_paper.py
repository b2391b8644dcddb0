"""The colours of files are those of the page by day."""

from frostline.report.figures import paper

from ..test_style import palette


def test_the_colours_are_those_of_the_style_sheet() -> None:
    colours = palette("light")

    def page(name: str) -> str:
        return "#" + "".join(f"{int(part):02x}" for part in colours[name])

    assert {look: page(f"look-{look}") for look in paper.LOOKS} == paper.LOOKS
    assert {kind: page(f"heat-{kind}") for kind in paper.HEAT} == paper.HEAT
    named = {
        "ink": paper.INK,
        "muted": paper.MUTED,
        "line": paper.LINE,
        "sunk": paper.SUNK,
        "cold": paper.COLD,
        "warm": paper.WARM,
    }
    assert {name: page(name) for name in named} == named
