"""The values of a recipe that are words of our own: a share or a folder, the name of a network, weights, a freeze."""

import difflib
import re
from collections.abc import Iterable
from pathlib import PurePath
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from frostline.errors import SelectorError, nearest
from frostline.recipe.rules import Path
from frostline.selection.selector import BARE, COUNTED, GLOBBED, NAMED, Selector, parse

BUILTIN = "builtin/"
BUILTINS = ("builtin/digits", "builtin/glyphs")
NETWORK_PREFIXES = ("timm/", "torchvision/", "hf/", "frostline/")
NETWORK_FORMS = f"{'…, '.join(NETWORK_PREFIXES)}… or path/to/file.py:callable"
NO_FILE = ("pretrained", "none")
MOST_SIZE_BYTES = 10**18  # a million TB, as the store has it

RATE_WORDS = ("none", "discriminative")
DECAY = "decay"
DECAY_STEPS = ("layer", "stage")

_LIKE_A_SHARE = re.compile(r"\d*[.,]?\d+\s*%|0?[.,]\d+")


def wrong(what: str, *, at: Path = ()) -> ValidationError:
    """Make the error that a validator of one value raises, in our own words.

    Args:
        what: the sentence.
        at: the keys below the value being read that lead to the mistake.
    """
    return _error([(at, PydanticCustomError("words", "{what}", {"what": what}))])


def contradicting(found: Iterable[tuple[Path, str]]) -> ValidationError:
    """Make the error of values that are right alone and wrong together: pairs of a path and a sentence."""
    return _error((path, PydanticCustomError("contradiction", "{what}", {"what": what})) for path, what in found)


def _error(details: Iterable[tuple[Path, PydanticCustomError]]) -> ValidationError:
    lines = [InitErrorDetails(type=kind, loc=path, input=None) for path, kind in details]
    return ValidationError.from_exception_data("recipe", lines)


def found(value: object) -> str:
    """Say what a recipe holds at some place.

    >>> found(True), found(-1), found("fast"), found([1])
    ('true or false', '-1', 'the text `fast`', 'a list')
    """
    match value:
        case bool():
            return "true or false"
        case None:
            return "nothing"
        case int() | float():
            return _number(value)
        case str():
            return f"the text `{_cut(value)}`" if value else "an empty text"
        case list() | tuple():
            return "a list" if value else "an empty list"
        case dict():
            return "keys and values"
        case _:
            return type(value).__name__


def _number(value: float) -> str:
    # Python refuses to write an integer of thousands of digits, which a recipe can hold in hexadecimal.
    return "an enormous number" if isinstance(value, int) and value.bit_length() > 200 else f"{value}"


def _cut(text: str, *, most: int = 60) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]}…"


def is_local(network: str) -> bool:
    """Whether a network is named by a file of Python and a callable in it: `path/to/file.py:callable`.

    >>> is_local("models/cifar.py:resnet20"), is_local("timm/resnet18")
    (True, False)
    """
    file, colon, attribute = network.rpartition(":")
    return bool(colon) and PurePath(file).suffix == ".py" and attribute.isidentifier()


def _train(value: str) -> str:
    if not value.strip():
        raise wrong("empty, wanted a folder of images")
    if value.startswith(BUILTIN) and value not in BUILTINS:
        raise wrong(f"`{value}` is not built in; {nearest(value, BUILTINS, most=1)}")
    return value


def _split(value: Any) -> Any:
    """Read a share of the images or a folder; 0 is the same as none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | None):
        raise wrong(f"{found(value)}, wanted a share such as 0.2, a folder, or null")
    if isinstance(value, int | float):
        if not 0 <= value < 1:
            raise wrong(f"{found(value)}, wanted a share from 0 to below 1 (0.2 is a fifth), a folder, or null")
        return float(value) or None
    if isinstance(value, str):
        if not value.strip():
            raise wrong("empty, wanted a share such as 0.2, a folder, or null")
        if _LIKE_A_SHARE.fullmatch(value.strip()):
            raise wrong(f"{found(value)}, wanted a share as a plain number, such as 0.2")
    return value


def _size(value: str) -> str:
    """Check the words of a size; what they mean is the store's to say."""
    read = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([kMGT]?)B\s*", value, flags=re.IGNORECASE)
    if read is None:
        raise wrong(f"{value}, wanted a number and B, kB, MB, GB or TB, such as 20GB")
    if float(read[1]) * 1000.0 ** " KMGT".index(read[2].upper() or " ") > MOST_SIZE_BYTES:
        raise wrong(f"{value if len(value) <= 32 else value[:32] + ' …'}, more than any disk has")
    return value


def _network(value: str) -> str:
    prefix, slash, rest = value.partition("/")
    if is_local(value) or (prefix + slash in NETWORK_PREFIXES and rest.strip() == rest != ""):
        return value
    if re.search(r"\.py:?$", value):
        raise wrong(f"{found(value)} names no callable, wanted path/to/file.py:callable")
    if prefix + slash in NETWORK_PREFIXES:
        raise wrong(f"{found(value)} names no network, wanted a name behind {prefix}/")
    near = difflib.get_close_matches(f"{prefix}/".lower(), NETWORK_PREFIXES, n=1, cutoff=0.6)
    hint = f"; the nearest is {near[0]}{rest or '…'}" if near else ""
    raise wrong(f"{found(value)}, wanted {NETWORK_FORMS}{hint}")


def _weights(value: str) -> str:
    if not value.strip():
        raise wrong("empty, wanted pretrained, none, or the path of a file")
    near = difflib.get_close_matches(value.lower(), NO_FILE, n=1, cutoff=0.75)
    if value not in NO_FILE and near and not set("./\\") & set(value):
        raise wrong(f"{found(value)}, wanted pretrained, none, or the path of a file; the nearest is {near[0]}")
    return value


def _freeze(value: Any) -> Selector:
    if isinstance(value, Selector):
        return value
    try:
        return parse(value)
    except SelectorError as error:
        wanted = error.do.removeprefix("give ")
        do = f"; {error.do}" if wanted == error.do else f", wanted {wanted}"
        # One word in the mapping: the mistake is at that word, on its own line.
        place = tuple(map(str, value)) if isinstance(value, dict) and len(value) == 1 else ()
        raise wrong(f"{error.found}{do}", at=place) from None


def _transform(value: Any) -> Any:
    """Read a transform: its name, or its name and its arguments; which there are, torchvision knows."""
    if isinstance(value, str) and value.isidentifier():
        return value
    if isinstance(value, dict) and len(value) == 1:
        name, arguments = next(iter(value.items()))
        if isinstance(name, str) and name.isidentifier() and isinstance(arguments, dict | None):
            return {name: arguments or {}}
    raise wrong(f"{found(value)}, wanted a transform: its name, or {{NAME: {{argument: value}}}}")


def _class_weights(value: Any) -> Any:
    if value in ("none", "balanced"):
        return value
    if not isinstance(value, dict) or not value:
        raise wrong(f"{found(value)}, wanted none, balanced, or weights by class such as {{glass: 2.0}}")
    for name, weight in value.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            raise wrong(f"{found(weight)}, wanted a weight above 0", at=(name,))
    return {str(name): float(weight) for name, weight in value.items()}


def _rates(value: Any) -> Any:
    """Read what rates are multiplied by; which stages there are, the network knows."""
    if value in RATE_WORDS:
        return value
    if not isinstance(value, dict) or not value:
        raise wrong(
            f"{found(value)}, wanted none, discriminative, {{decay: 0.75}}, or factors for all stages, such as "
            "{early: 0.1, late: 0.3, head: 1}"
        )
    if DECAY in value:
        return _decay(value)
    for name, factor in value.items():
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 <= factor < float("inf"):
            raise wrong(f"{found(factor)}, wanted a factor from 0 on", at=(name,))
    return {str(name): float(factor) for name, factor in value.items()}


def _decay(value: dict[Any, Any]) -> Any:
    decay, by = value[DECAY], value.get("by", "layer")
    if isinstance(decay, bool) or not isinstance(decay, int | float) or not 0 < decay <= 1:
        raise wrong(f"{found(decay)}, wanted a number above 0, up to 1", at=(DECAY,))
    if by not in DECAY_STEPS:
        raise wrong(f"{found(by)}, wanted layer or stage", at=("by",))
    if more := value.keys() - {DECAY, "by"}:
        raise wrong(f"{sorted(map(str, more))[0]} beside decay, wanted one or the other")
    return {DECAY: float(decay), "by": by}


def _thaw(value: Any) -> Any:
    """Read what thaws when: epochs, from 0, and parts."""
    if not isinstance(value, dict) or not value:
        raise wrong(f"{found(value)}, wanted epochs and what they thaw, such as {{0: [head], 5: [stage4]}}")
    read: dict[int, tuple[str, ...]] = {}
    for epoch, parts in value.items():
        number = int(epoch) if isinstance(epoch, str) and epoch.isdecimal() else epoch
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise wrong(f"{found(epoch)}, wanted an epoch, counted from 0", at=(epoch,))
        if number in read:
            raise wrong(f"epoch {number} twice", at=(epoch,))
        names = [parts] if isinstance(parts, str) else parts
        if not isinstance(names, list | tuple) or not names or not all(isinstance(one, str) and one for one in names):
            raise wrong(f"{found(parts)}, wanted stages or globs, such as [head]", at=(epoch,))
        read[number] = tuple(names)
    return dict(sorted(read.items()))


def _warmup(value: Any) -> Any:
    """Read a warm-up: epochs, or steps."""
    if isinstance(value, dict) and value.keys() == {"steps"}:
        steps = value["steps"]
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
            raise wrong(f"{found(steps)}, wanted a whole number from 0 on", at=("steps",))
        return {"steps": steps}
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise wrong(f"{found(value)}, wanted epochs from 0 on, or {{steps: N}}")
    return float(value)


def _channel_values(value: tuple[float, ...]) -> tuple[float, ...]:
    if len(value) not in (1, 3):
        raise wrong(f"{len(value)} numbers, wanted 3 (one a channel) or 1 (for all channels)")
    return value


def _channel_means(value: tuple[float, ...]) -> tuple[float, ...]:
    if not all(abs(one) <= 1 for one in value):
        written = ", ".join(f"{one:g}" for one in value)
        raise wrong(f"{written}, for values from 0 to 255; pictures come as 0 … 1: divide mean and std by 255")
    return _channel_values(value)


def _form(word: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {word: schema}, "required": [word], "additionalProperties": False}


_GLOB = {"type": "string", "minLength": 1}
_GLOBS = {"oneOf": [_GLOB, {"type": "array", "items": _GLOB, "minItems": 1}]}
FREEZE_SCHEMA: dict[str, Any] = {
    "oneOf": [
        {"enum": list(BARE), "type": "string"},
        *[_form(word, {"type": "string", "minLength": 1}) for word in NAMED],
        *[_form(word, {"type": "integer", "minimum": -1 if word == "frozen_stages" else 1}) for word in COUNTED],
        *[_form(word, _GLOBS) for word in GLOBBED],
    ]
}

_WEIGHTS_BY_CLASS = {"type": "object", "additionalProperties": {"type": "number", "exclusiveMinimum": 0}}
CLASS_WEIGHTS_SCHEMA: dict[str, Any] = {
    "oneOf": [{"enum": ["none", "balanced"], "type": "string"}, {**_WEIGHTS_BY_CLASS, "minProperties": 1}]
}
RATES_SCHEMA: dict[str, Any] = {
    "oneOf": [
        {"enum": list(RATE_WORDS), "type": "string"},
        {
            "type": "object",
            "properties": {
                DECAY: {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                "by": {"enum": list(DECAY_STEPS), "type": "string"},
            },
            "required": [DECAY],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {DECAY: False},
            "additionalProperties": {"type": "number", "minimum": 0},
            "minProperties": 1,
        },
    ]
}
WARMUP_SCHEMA: dict[str, Any] = {
    "oneOf": [{"type": "number", "minimum": 0}, _form("steps", {"type": "integer", "minimum": 0})]
}
TRANSFORM_SCHEMA: dict[str, Any] = {
    "oneOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "object",
            "additionalProperties": {"type": ["object", "null"]},
            "minProperties": 1,
            "maxProperties": 1,
        },
    ]
}

Count = Annotated[int, Field(ge=1)]
Size = Annotated[str, AfterValidator(_size)]
Train = Annotated[str, AfterValidator(_train)]
Split = Annotated[Annotated[float, Field(ge=0, lt=1)] | str | None, BeforeValidator(_split)]
NetworkName = Annotated[str, AfterValidator(_network)]
Weights = Annotated[str, AfterValidator(_weights)]
ChannelMeans = Annotated[tuple[float, ...], Field(strict=False), AfterValidator(_channel_means)]
ChannelSpreads = Annotated[
    tuple[Annotated[float, Field(gt=0)], ...], Field(strict=False), AfterValidator(_channel_values)
]
Transform = Annotated[str | dict[str, Any], PlainValidator(_transform), WithJsonSchema(TRANSFORM_SCHEMA)]
ClassWeights = Annotated[str | dict[str, float], PlainValidator(_class_weights), WithJsonSchema(CLASS_WEIGHTS_SCHEMA)]
Rates = Annotated[str | dict[str, Any], PlainValidator(_rates), WithJsonSchema(RATES_SCHEMA)]
Warmup = Annotated[float | dict[str, int], PlainValidator(_warmup), WithJsonSchema(WARMUP_SCHEMA)]
Thaw = Annotated[
    dict[int, tuple[str, ...]],
    PlainValidator(_thaw),
    PlainSerializer(
        lambda thaw: {str(epoch): list(names) for epoch, names in thaw.items()}, return_type=dict[str, Any]
    ),
    WithJsonSchema({"type": "object", "additionalProperties": _GLOBS, "minProperties": 1}),
]
Freeze = Annotated[
    Selector,
    PlainValidator(_freeze),
    PlainSerializer(lambda selector: selector.words(), return_type=str | dict[str, Any]),
    WithJsonSchema(FREEZE_SCHEMA),
]
