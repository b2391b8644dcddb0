"""Overrides from the command line: `phases.0.lr=1e-3` replaces one value of a recipe before it is validated."""

from collections.abc import Sequence
from typing import Any

from frostline.recipe.rules import Path
from frostline.recipe.source import Mistake, Place, Source, dotted, read
from frostline.recipe.words import found

# Parts of a recipe for which one word can stand, and the key that it is the value of.
_WORDS: dict[str | int, str] = {
    "augment": "policy",
    "optimizer": "name",
    "replay": "use",
    "schedule": "name",
    "technique": "name",
}


class _Refused(Exception):  # noqa: N818 - never leaves this file
    """An override that has nothing to replace; its text says why."""


def override(source: Source, overrides: Sequence[str]) -> None:
    """Replace values of a recipe, in the order given; what cannot be replaced is a mistake of the source.

    Args:
        source: the recipe; its content, places and mistakes change.
        overrides: items `dotted.key=value`, each value in YAML.
    """
    for index, item in enumerate(overrides):
        place = Place(1, index, 0, item)
        try:
            path, value = _parsed(item)
            written = _set(source.content, path, value.content)
        except _Refused as refusal:
            source.mistakes.append(Mistake(place, "", str(refusal)))
            continue
        for old in [old for old in source.places if old[: len(written)] == written]:
            del source.places[old]
        # Also for what the override had to create on its way, so that its mistakes are not given to the file.
        for end in range(1, len(written) + 1):
            source.places.setdefault(written[:end], place)
        for below in value.places:
            source.places[*written, *below] = place


def _parsed(item: str) -> tuple[tuple[str, ...], Source]:
    key, equals, text = item.partition("=")
    if not equals:
        raise _Refused("no `=`; write dotted.key=value, as in phases.0.lr=1e-3")
    path = tuple(part.strip() for part in key.split("."))
    if not all(path):
        raise _Refused("an empty key; write dotted.key=value, as in phases.0.lr=1e-3")
    value = read(text)
    if value.mistakes:
        raise _Refused(f"the value cannot be read: {value.mistakes[0].what}")
    return path, value


def _set(content: Any, path: tuple[str, ...], value: Any) -> Path:
    """Put a value into the content and give back the path with list positions as numbers."""
    here: Any = content
    walked: Path = ()
    for step, word in enumerate(path):
        if not isinstance(here, dict | list):
            raise _Refused(f"{dotted(walked)} is {found(here)}; {word} cannot be set in it")
        key: Any = _position(here, word, walked) if isinstance(here, list) else word
        if step == len(path) - 1:
            here[key] = value
        elif isinstance(here, dict):
            here[key] = _opened(here.get(key), (*walked, key))
        here, walked = here[key], (*walked, key)
    return walked


def _opened(value: Any, path: Path) -> Any:
    """Make a mapping of what can be one: nothing yet, or a part that is written as one word."""
    if value is None:
        return {}
    return {_WORDS[path[-1]]: value} if path[-1] in _WORDS and isinstance(value, str) else value


def _position(items: list[Any], word: str, path: Path) -> int:
    if not word.isascii() or not word.isdigit():
        raise _Refused(f"{dotted(path)} is a list; write a position from 0 on, not {word}")
    if int(word[:9]) >= len(items):
        raise _Refused(f"{dotted(path)} has {len(items)}, counted from 0; there is no {word}")
    return int(word)
