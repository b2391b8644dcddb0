"""Every error of frostline, in one tree; each says what was asked, what was found and what to do.

FrostlineError
├── UserError                what was asked cannot be done: exit code 2, nothing written
│   ├── RecipeError          a recipe that cannot be read; all its mistakes at once
│   ├── SelectorError        words that pick nothing, too much, or something that is not there
│   ├── PlanError            a plan where one is in force already, or one of another network
│   ├── RatesError           rates that leave a parameter without one, or are none
│   ├── ScheduleError        phases that come to nothing, or whose end nobody can tell
│   ├── NetworkError         an unknown network, or a callable that gives none
│   │   └── WeightsError     weights that cannot be read, or belong to another network
│   ├── DataError            folders or pictures that cannot be trained on
│   ├── RunError             a run folder that is missing, taken or incomplete
│   └── StoreError           a store that cannot be written, is full, or holds something else
└── RunFailure               the run itself failed: exit code 1, what was good is kept
    ├── NonFiniteLossError   the loss became NaN or infinite
    └── ProofError           something that was frozen moved, or a part of the freeze did not hold
"""

import copyreg
import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class FrostlineError(Exception):
    """Base of all errors; its text is one line: what was asked, what was found, what to do.

    Attributes:
        in_every_process: it is raised in every process of a run, so that one of them tells it for all.
    """

    in_every_process = False

    def __init__(self, asked: str, *, found: str = "", do: str = "") -> None:
        # torch makes the error of a loader's process again from one text: a traceback whose last line is the error.
        text = (
            f"{asked}: {found}. {do}" if found else asked.strip().rpartition("\n")[2].partition("Error: ")[2] or asked
        )
        super().__init__(" ".join(text.splitlines()))
        self.asked = asked
        self.found = found
        self.do = do

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as it is: an error comes back from another process, whatever its `__init__` takes."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class UserError(FrostlineError):
    """What was asked cannot be done; nothing was written."""


class RecipeError(UserError):
    """A recipe with mistakes; `mistakes` holds one line for each, in the order of the file."""

    def __init__(self, recipe: str, *, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        count = "one mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        super().__init__(
            f"recipe {recipe}",
            found=f"{count}: " + "; ".join(self.mistakes),
            do="`frostline recipe keys` lists every key",
        )


class SelectorError(UserError):
    """A selector that matches nothing, holds everything, contradicts a tied weight or is out of range."""


class PlanError(UserError):
    """A plan that cannot be applied: another is in force, or it was made for another network."""


class RatesError(UserError):
    """Rates by depth that leave a parameter without one, or a schedule of rates that cannot be."""


class ScheduleError(UserError):
    """A schedule of phases that comes to nothing, or that needs metrics and has none."""


class NetworkError(UserError):
    """A network that does not exist, cannot be built, or has no part of that kind."""


class WeightsError(NetworkError):
    """Weights that are damaged, unsafe to read, or of another architecture."""


class DataError(UserError):
    """A data folder that is missing, empty or cannot be split as asked; `items` has what is wrong, one line each."""

    def __init__(self, asked: str, *, found: str = "", do: str = "", items: Iterable[str] = ()) -> None:
        super().__init__(asked, found=found, do=do)
        self.items = tuple(" ".join(item.splitlines()) for item in items)


class RunError(UserError):
    """A run folder that is missing, already taken or incomplete."""


class StoreError(UserError):
    """A store that cannot be written, has no room left, or holds something else under that key."""


class RunFailure(FrostlineError):  # noqa: N818 - it is the branch of failures, as UserError is that of mistakes
    """The run itself failed; what was good until then is kept."""


class NonFiniteLossError(RunFailure):
    """The loss became NaN or infinite."""


class ProofError(RunFailure):
    """A claim of the proof fails: the freeze did not hold. `proof` is the one that says so, where it is known."""

    def __init__(self, asked: str, *, found: str = "", do: str = "", proof: Any = None) -> None:
        super().__init__(asked, found=found, do=do)
        self.proof = proof


def nearest(name: str, known: Iterable[str], *, most: int = 3) -> str:
    """Name the nearest of the known words, or the first few of them where none is near.

    >>> nearest("stag2", ["stem", "stage1", "stage2", "head"], most=1)
    'the nearest is stage2'
    """
    names = list(dict.fromkeys(known))
    close = difflib.get_close_matches(name, names, n=most, cutoff=0.5)
    if close:
        return f"the nearest {'is' if len(close) == 1 else 'are'} {', '.join(close)}"
    return f"there is {first_of(names, most=12)}" if names else "there is nothing to choose from"


def first_of(names: Sequence[str], *, most: int) -> str:
    """Name the first of many, and count the others.

    >>> first_of(["conv1", "bn1", "fc"], most=2)
    'conv1, bn1 and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def missing(asked: str, error: ModuleNotFoundError) -> str:
    """Say what to install where a package is not there; what is missing of frostline itself is raised as it is.

    >>> missing("frostline.finetune", ModuleNotFoundError(name="ruamel"))
    'frostline.finetune: ruamel is not installed. `pip install frostline` installs what frostline needs'
    """
    package = (error.name or "").partition(".")[0]
    if package in ("", "frostline"):
        raise error
    if package in ("fcntl", "resource"):
        return f"{asked}: it needs Linux or macOS; on Windows it runs in WSL"
    return f"{asked}: {package} is not installed. `pip install frostline` installs what frostline needs"
