"""Which arms stand out where all of them are drawn in one figure."""

from collections.abc import Iterator
from dataclasses import dataclass

from frostline.report.arms import ArmResult, Arms

IN_FRONT_MOST = 6
BEST, BASELINE, FAINT = 2, 3, 1
OTHERS = (4, 5, 6, 1)


@dataclass(frozen=True, kw_only=True)
class Look:
    """How an arm is drawn: the number of its colour, whether it is dashed, and whether it stays in the background."""

    colour: int
    dashed: bool
    faint: bool


def looks(arms: Arms) -> dict[str, Look]:
    """Give every arm its look, by name; those in the background come first, so that they are drawn first.

    Up to six arms all have a colour. Of more, the best arm and the one that freezes nothing have one.
    """
    found = dict(_looks(arms))
    return dict(sorted(found.items(), key=lambda one: not one[1].faint))


def _looks(arms: Arms) -> Iterator[tuple[str, Look]]:
    many = len(arms.results) > IN_FRONT_MOST
    # Where neither a best arm nor a baseline takes its colour, another may have it.
    colours = iter([*OTHERS, *(BEST,) * (arms.best is None), BASELINE])
    for result in arms.results:
        if result is arms.best or result is arms.baseline:
            colour = BEST if result is arms.best else BASELINE
            yield result.arm.name, Look(colour=colour, dashed=result is arms.baseline, faint=False)
        else:
            yield result.arm.name, Look(colour=FAINT if many else next(colours), dashed=False, faint=many)


def others(arms: Arms) -> str:
    """Say what stays in the background."""
    front = sum(not look.faint for look in looks(arms).values())
    return f"{len(arms.results) - front} other arms" if front else f"{len(arms.results)} arms"


def in_order(arms: Arms) -> Iterator[tuple[ArmResult, Look]]:
    """Give the arms in the order in which they are drawn, each with its look."""
    by_name = {one.arm.name: one for one in arms.results}
    return ((by_name[name], look) for name, look in looks(arms).items())
