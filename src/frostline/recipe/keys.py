"""Every key of a recipe as a person looks it up: its dotted name, its default, what it means; read from the schema."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic_core import PydanticUndefined

from frostline.recipe.schema import Augment, Phase, Recipe
from frostline.recipe.strict import Strict, Worded

_PAGE = """\
# Every key of a recipe

What is left out has its default; what is **needed** is so where the key above it is written. A key is changed from the
command line as `data.size=320` or `phases.0.lr=1e-4`. `frostline recipe keys WORD` prints those with a word in them,
`frostline recipe show RECIPE` a recipe with all of them, and `frostline recipe schema` the schema for an editor. This
page is what `frostline recipe keys --markdown` prints.

"""


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key.

    Attributes:
        name: dotted, as a change on the command line writes it; of a phase with `0` for the first.
        default: as a recipe writes it; nothing: the key must be given, where that above it is.
        meaning: what it is, and what may be written.
    """

    name: str
    default: str
    meaning: str


def keys() -> tuple[Key, ...]:
    """List every key of a recipe, in the order of the schema.

    >>> next(key for key in keys() if key.name == "batch_size")
    Key(name='batch_size', default='32', meaning='samples in a step')
    """
    return tuple(_keys_of(Recipe, ""))


def page() -> str:
    """Write every key on a page of Markdown."""
    return _PAGE + _table(keys())


def _table(listed: tuple[Key, ...]) -> str:
    rows = [
        f"| `{key.name}` | {f'`{key.default}`' if key.default else '**needed**'} | {key.meaning} |" for key in listed
    ]
    return "\n".join(["| key | default | |", "|---|---|---|", *rows, ""])


def _keys_of(part: type[Strict], above: str) -> Iterator[Key]:
    for name, field in part.model_fields.items():
        inner = next((kind for kind in (field.annotation, *get_args(field.annotation)) if _is_part(kind)), None)
        needed = field.default is PydanticUndefined
        yield Key(
            name=f"{above}{name}",
            default="" if needed else _written(field.default),
            meaning=field.description or "",
        )
        if inner is not None and not above.startswith("phases."):  # there they are as for all phases
            yield from _keys_of(inner, f"{above}{name}.{'0.' if inner is Phase else ''}")


def _is_part(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Strict)


def _written(value: Any) -> str:
    """Write a default as a recipe does; of a part that a word can stand for, that word."""
    match value:
        case Worded():
            return str(getattr(value, value.WORD))
        case Augment():
            return value.policy
        case Strict():
            return "{}"
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case tuple():
            return "[]"
        case float():
            return f"{value:g}"
        case _:
            return str(value)
