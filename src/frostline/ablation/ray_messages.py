"""What an ablation, the process that speaks with Ray for it, and the machines of a cluster tell each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from frostline.recipe import Recipe

# What a person can do where a cluster is not open to everybody.
TOKEN = "a cluster that asks for a token wants RAY_AUTH_MODE=token, and that token where Ray looks for it"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an ablation is.

    Attributes:
        folder: of the ablation, absolute.
        token: that its record has: another machine may have another ablation in a folder of that name.
        directory: from which relative paths go out.
    """

    folder: Path
    token: str
    directory: Path


@dataclass(frozen=True, kw_only=True)
class Made:
    """One run, as a machine made it.

    Attributes:
        failure: why it failed; None: it did not.
        seconds: what it took.
        files: of its folder, where it is not in the ablation's.
    """

    failure: str | None
    seconds: float
    files: dict[str, bytes] | None = None


@dataclass(frozen=True, kw_only=True)
class Look:
    """Whether every machine has what this one has written: the answer is one bool."""

    file: Path
    token: str


@dataclass(frozen=True, kw_only=True)
class Work:
    """Runs that are to be made: the answers are each one's name and what it came to, in the order in which they end."""

    recipes: Mapping[str, Recipe]
    place: Place
    jobs: int | None
