"""Samples that cannot be used: what is wrong with each, found before anything is trained."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from frostline.data.pictures import QUIET, UnusableError, decode
from frostline.errors import DataError

if TYPE_CHECKING:
    from frostline.data.samples import Samples

# What is handed to the threads at once: memory must not grow with the data.
_CHUNK = 4096


@dataclass(frozen=True)
class Fault:
    """A sample, or a folder of them, that cannot be used: its name for a person, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def find_faults(samples: "Samples") -> tuple[tuple[int, Fault], ...]:
    """See that every text says something and every picture can be read, so that none ends a training.

    Pictures are read small where their format allows that.

    Args:
        samples: what to read; samples in memory are never damaged.

    Returns:
        The place of each sample that cannot be used, with what is wrong with it, in order.
    """
    if samples.pixels is not None:
        return ()
    if samples.texts is not None:
        every = ((place, fault_of(text)) for place, text in enumerate(samples.texts.content))
        return tuple((place, Fault(samples.name(place), why)) for place, why in every if why is not None)

    def reason(index: int) -> str | None:
        try:
            decode(samples.picture(index), at_least_px=1, only_check=True)
        except UnusableError as error:
            return str(error)
        return None

    found: list[tuple[int, Fault]] = []
    with QUIET, ThreadPoolExecutor() as pool:
        for start in range(0, len(samples), _CHUNK):
            places = range(start, min(start + _CHUNK, len(samples)))
            reasons = zip(places, pool.map(reason, places), strict=True)
            found += [(place, Fault(samples.name(place), why)) for place, why in reasons if why is not None]
    return tuple(found)


def fault_of(text: str) -> str | None:
    r"""Say why a text cannot be used; None: it can.

    >>> fault_of("a"), fault_of(""), fault_of("cut \ud83d")
    (None, 'no text', 'half of a letter of Unicode')
    """
    if not text:
        return "no text"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half of a letter of Unicode"
    return None


def counted(count: int, what: str) -> str:
    """Count things for a person.

    >>> counted(1, "picture"), counted(1200, "text")
    ('one picture', '1,200 texts')
    """
    return f"one {what}" if count == 1 else f"{count:,} {what}s"


def refuse(faults: Sequence[Fault], *, what: str = "picture") -> DataError:
    """Make the error that lists samples that cannot be used, each on a line of its own."""
    return DataError(
        f"{what}s",
        found=f"{counted(len(faults), what)} cannot be used",
        do="mend or take out what is listed, or write `data.on_bad: skip`",
        items=[str(fault) for fault in faults],
    )
