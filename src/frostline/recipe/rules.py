"""What must agree between the keys of a recipe: rules over plain data, lenient where other mistakes are in the way."""

from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str | int, ...]

DEFAULT_VAL = 0.2


def contradictions(words: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Find values that are right alone and wrong together.

    Args:
        words: a recipe as plain data. Keys may be missing or wrong; then the rules about them are silent, so that
            one mistake is told once.

    Yields:
        The path of the value to change, and what is wrong with it.

    >>> list(contradictions({"data": {"val": 0.5, "test": 0.5}}))
    [(('data', 'test'), '0.5, and val is 0.5: nothing is left to train on; shares must add up to less than 1')]
    """
    data = words.get("data")
    validates = True
    if isinstance(data, Mapping):
        yield from _splits(data)
        yield from _normalize(data.get("normalize"))
        validates = data.get("val", DEFAULT_VAL) is not None and not _is_zero(data.get("val"))
    yield from _phases(words.get("phases"), validates=validates)
    augment = words.get("augment")
    if isinstance(augment, Mapping) and augment.get("transforms") is not None:
        yield from _own_transforms(augment)
    optimizer = words.get("optimizer")
    if isinstance(optimizer, Mapping) and optimizer.get("momentum") is not None:
        name = optimizer.get("name", "adamw")
        if name in ("adam", "adamw"):
            yield ("optimizer", "momentum"), f"{name} takes none; momentum belongs to sgd"
    if words.get("patience") is not None and not validates:
        yield ("patience",), "there is no validation to be patient about; give data.val a share or a folder"


def _own_transforms(augment: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    if augment.get("policy", "none") != "none":
        yield ("augment", "policy"), f"{augment['policy']}, and transforms are a policy of their own; leave one out"
    if augment.get("flip", "auto") not in ("auto", "none"):
        yield ("augment", "flip"), "transforms are taken as they are; write RandomHorizontalFlip among them"


def _splits(data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    val, test, per_class = data.get("val", DEFAULT_VAL), data.get("test"), data.get("per_class")
    # With a little slack: 0.9 and 0.1 are all, however they are rounded.
    if _share(val) and _share(test) and _share(val) + _share(test) > 1 - 1e-9:
        left = "nothing is left to train on; shares must add up to less than 1"
        yield ("data", "test"), f"{test}, and val is {val}{'' if 'val' in data else ' where it is not written'}: {left}"
    if val == "rest":
        yield ("data", "val"), "the rest can be tested on, not validated on; a folder of that name is ./rest"
    if test == "rest" and per_class is None:
        yield ("data", "test"), "the rest of what? Write per_class beside it: so many images of each class train"
    if per_class is not None and _is_nothing(val) and _is_nothing(test):
        yield ("data", "per_class"), "the other images would go unused; write `test: rest`, or give val or test a share"


def _normalize(normalize: Any) -> Iterator[tuple[Path, str]]:
    if not isinstance(normalize, Mapping):
        return
    mean, std = normalize.get("mean"), normalize.get("std")
    if not isinstance(mean, list | tuple) or not isinstance(std, list | tuple):
        return
    if {len(mean), len(std)} == {1, 3}:
        yield ("data", "normalize", "std"), f"std has {len(std)}, mean has {len(mean)}; write as many of each"


def _phases(phases: Any, *, validates: bool) -> Iterator[tuple[Path, str]]:
    if not isinstance(phases, list | tuple):
        return
    for index, phase in enumerate(phases):
        if not isinstance(phase, Mapping) or phase.get("start_from") != "best":
            continue
        if index == 0:
            yield ("phases", 0, "start_from"), "best, and no phase came before the first; leave it out"
        elif not validates:
            yield (
                ("phases", index, "start_from"),
                "best, and without validation none is best; give data.val a share or a folder, or write last",
            )


def _share(value: Any) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1 else 0.0


def _is_zero(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0


def _is_nothing(value: Any) -> bool:
    return value is None or _is_zero(value)
