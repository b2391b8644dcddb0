"""WHICH: the outline of a network, and the words that pick a part of it.

Importing this folder does not import torch; `outline` and what reads a network do, when they are first used.
"""

from typing import TYPE_CHECKING, Any

from frostline.selection.parts import (
    BIASES,
    HEAD,
    INSIDE,
    NECK,
    NORMS,
    STEM,
    Convention,
    Layer,
    ModuleEntry,
    Outline,
    ParameterEntry,
    Stage,
    is_of_adapter,
    parents_of,
)
from frostline.selection.resolve import Resolution, pick, resolve
from frostline.selection.selector import Selector, Words, parse, parse_call
from frostline.selection.tied import tied_at_first

if TYPE_CHECKING:
    from frostline.selection.adapters import adapted_layers, bare
    from frostline.selection.inputs import ExampleInput, guesses
    from frostline.selection.network import outline, role_of
    from frostline.selection.trace import all_tensors, call, first_tensor, undisturbed
    from frostline.selection.units import is_weight_layer

_LAZY = {
    "ExampleInput": "inputs",
    "adapted_layers": "adapters",
    "all_tensors": "trace",
    "bare": "adapters",
    "call": "trace",
    "first_tensor": "trace",
    "guesses": "inputs",
    "is_weight_layer": "units",
    "outline": "network",
    "role_of": "network",
    "undisturbed": "trace",
}

__all__ = [
    "BIASES",
    "HEAD",
    "INSIDE",
    "NECK",
    "NORMS",
    "STEM",
    "Convention",
    "ExampleInput",
    "Layer",
    "ModuleEntry",
    "Outline",
    "ParameterEntry",
    "Resolution",
    "Selector",
    "Stage",
    "Words",
    "adapted_layers",
    "all_tensors",
    "bare",
    "call",
    "first_tensor",
    "guesses",
    "is_of_adapter",
    "is_weight_layer",
    "outline",
    "parents_of",
    "parse",
    "parse_call",
    "pick",
    "resolve",
    "role_of",
    "tied_at_first",
    "undisturbed",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
