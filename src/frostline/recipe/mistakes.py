"""What pydantic finds, said in our own words: one sentence a mistake, with its line and its key."""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from frostline.errors import nearest
from frostline.recipe.rules import Path, contradictions
from frostline.recipe.schema import Recipe
from frostline.recipe.source import Mistake, Source, dotted
from frostline.recipe.words import found
from frostline.selection.selector import BARE, COUNTED, GLOBBED, NAMED

_SELECTORS: dict[str, str] = {word: f"freeze: {word}" for word in BARE}
_SELECTORS |= {word: f"freeze: {{{word}: STAGE}}" for word in NAMED}
_SELECTORS |= {word: f"freeze: {{{word}: N}}" for word in COUNTED}
_SELECTORS |= {word: f"freeze: {{{word}: [GLOBS]}}" for word in GLOBBED}
_SELECTORS |= {"freeze_backbone": "freeze: backbone"}
# How alike two words are that may be meant for one another.
CLOSE = 0.75
# Names that other tools give to a key of ours.
_ALSO_CALLED = {
    "learning_rate": "lr",
    "num_epochs": "epochs",
    "num_workers": "workers",
    "image_size": "size",
    "img_size": "size",
    "input_size": "size",
    "pretrained": "weights",
    "checkpoint": "weights",
    "early_stopping": "patience",
    "scheduler": "schedule",
    "amp": "precision",
    "mlm_probability": "mask",
}
_WANTED: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "bool_type": lambda _: "true or false",
    "int_type": lambda _: "a whole number",
    "float_type": lambda _: "a number",
    "string_type": lambda _: "text",
    "finite_number": lambda _: "a finite number",
    "tuple_type": lambda _: "a list",
    "greater_than": lambda limits: f"a number above {limits['gt']:g}",
    "greater_than_equal": lambda limits: f"{limits['ge']:g} or more",
    "less_than": lambda limits: f"a number below {limits['lt']:g}",
    "less_than_equal": lambda limits: f"{limits['le']} or less",
}


def explain(error: ValidationError, source: Source) -> list[Mistake]:
    """Turn the errors of pydantic, and the rules that it could not come to, into mistakes.

    Args:
        error: what validating `source.content` raised.
        source: the recipe, which knows its lines.
    """
    mistakes = [_mistake(details, source) for details in error.errors() if not _is_echo(details, source)]
    broken = {mistake.key for mistake in mistakes}
    for path, what in contradictions(source.content if isinstance(source.content, dict) else {}):
        if dotted(path) not in broken:
            mistakes.append(Mistake(source.place(path)[1], dotted(path), what))
    return mistakes


def _is_echo(details: ErrorDetails, source: Source) -> bool:
    """Whether an error follows from another one, or is told by the rules themselves."""
    return details["type"] == "contradiction" or details["loc"] in source.unread


def _mistake(details: ErrorDetails, source: Source) -> Mistake:
    path, value = details["loc"], details["input"]
    written, place = source.place(path)
    match details["type"]:
        case "missing":
            info = _field(path)
            return Mistake(place, dotted(path), f"missing; {info.description if info else 'it is needed'}")
        case "extra_forbidden":
            what = f"no such key; {_where(path)}"
        case "words":
            what = details["msg"]
        case "literal_error":
            what = _choice(value, re.findall(r"'([^']*)'", details["ctx"]["expected"]))
        case "model_type":
            model = _model(path)
            what = f"{found(value)}, wanted keys and values: {', '.join(model.model_fields if model else ())}"
        case known if known in _WANTED:
            what = f"{found(value)}, wanted {_WANTED[known](details.get('ctx', {}))}"
        case _:
            info = _field(path)
            what = f"{found(value)} does not fit; wanted: {info.description if info else 'something else'}"
    return Mistake(place, dotted(written), what)


def _choice(value: object, choices: list[str]) -> str:
    *most, last = choices
    wanted = f"{', '.join(most)} or {last}" if most else last
    near = nearest(value.lower(), choices, most=1) if isinstance(value, str) and most else ""
    return f"{found(value)}, wanted {wanted}" + (f"; {near}" if near.startswith("the nearest") else "")


def _where(path: Path) -> str:
    """Say where an unknown key belongs, or which key is nearest to it by spelling."""
    key, parent = str(path[-1]), path[:-1]
    model = _model(parent)
    here = list(model.model_fields) if model else []
    homes = _homes()
    in_phase = parent[:1] == ("phases",)
    if key in _SELECTORS and (in_phase or key not in homes):
        return _write(key, in_phase=in_phase)
    if key in homes:
        return _belongs(key, homes[key])
    if key in _ALSO_CALLED:
        ours = _ALSO_CALLED[key]
        return (
            f"it is called {ours} here"
            if ours in here
            else f"it is called {ours} and {_belongs(ours, homes[ours])[3:]}"
        )
    if difflib.get_close_matches(key, here, n=1, cutoff=CLOSE):
        return nearest(key, here, most=1)
    everywhere = [*here, *homes, *_SELECTORS]
    closest = difflib.get_close_matches(key, everywhere, n=1, cutoff=CLOSE)
    if closest and closest[0] not in here:
        word = closest[0]
        return f"the nearest is {word}: " + (
            _write(word, in_phase=in_phase) if word in _SELECTORS and word not in homes else _belongs(word, homes[word])
        )
    return nearest(key, here, most=1)


def _write(word: str, *, in_phase: bool) -> str:
    return f"write {_SELECTORS[word]}" if in_phase else f"write it in a phase: {_SELECTORS[word]}"


def _belongs(key: str, parents: list[Path]) -> str:
    names: dict[Path, str] = {(): "at the top of the recipe", ("phases",): f"in a phase: phases: [{{{key}: …}}]"}
    return "it belongs " + " or ".join(names.get(parent, f"in {dotted(parent)}") for parent in parents)


def _homes() -> dict[str, list[Path]]:
    homes: dict[str, list[Path]] = {}
    for parent, model in _models(Recipe, ()):
        if len(parent) > 1 and parent[0] == "phases":
            continue  # of a part that a phase may have in place of the recipe's
        for key in model.model_fields:
            homes.setdefault(key, []).append(parent)
    return homes


def _models(model: type[BaseModel], path: Path) -> Iterator[tuple[Path, type[BaseModel]]]:
    yield path, model
    for key, info in model.model_fields.items():
        below = _model_within(info.annotation)
        if below:
            yield from _models(below, (*path, key))


def _model(path: Path) -> type[BaseModel] | None:
    """Find the model whose keys are written at a path; list positions do not count."""
    below = tuple(part for part in path if isinstance(part, str))
    return next((model for home, model in _models(Recipe, ()) if home == below), None)


def _field(path: Path) -> FieldInfo | None:
    model = _model(path[:-1])
    return model.model_fields.get(str(path[-1])) if model and path else None


def _model_within(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_within(part))), None)
