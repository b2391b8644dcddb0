"""Opens any object: containers, tensors, modules, code, and everything else by what pickle would keep of it."""

import copyreg
import types
import weakref
from typing import Any

import torch
from torch import Tensor, nn

from frostline.freezing import digest
from frostline.replaying.fingerprint.foreign import open_foreign
from frostline.replaying.fingerprint.node import Node, Shape, by_name, full_name, module_of
from frostline.replaying.fingerprint.programs import installed, open_code

_VIEWS: tuple[type[Any], ...] = (type({}.keys()), type({}.values()), type({}.items()))
_LOCKS = ("lock", "RLock")


def open_object(thing: Any) -> Node:
    """Open an object: name what it is, and list its parts. Nothing of it is called but what pickle would call."""
    kind = type(thing)
    if kind is list or kind is tuple:
        return Node(kind.__name__, enumerate(thing), Shape.ITEMS)
    if kind is dict or kind is types.MappingProxyType:
        return Node("dict", list(thing.items()), Shape.MAPPING)
    if isinstance(thing, set | frozenset):
        if kind is set or kind is frozenset:
            return Node(kind.__name__, [("", part) for part in thing], Shape.SET)
        return Node("set", [("", frozenset(thing)), ("__class__", kind), *_attributes(thing)])
    if isinstance(thing, bytearray | memoryview):
        return Node(kind.__name__, [("", bytes(thing))])
    if isinstance(thing, _VIEWS):
        return Node(kind.__name__, [("", list(thing))])
    return _open_torch(thing) or open_code(thing) or open_foreign(thing) or _open_other(thing)


def _open_torch(thing: Any) -> Node | None:
    """Open what is of torch; None for anything else."""
    if isinstance(thing, Tensor):
        plain = type(thing) in (Tensor, nn.Parameter)
        parts = [] if plain else [*_attributes(thing), ("__class__", type(thing))]
        return Node("tensor", parts, values=lambda: digest(thing))
    if isinstance(thing, torch.Generator):
        return Node(f"generator {thing.device}", values=lambda: digest(thing.get_state()))
    if isinstance(thing, nn.Module):
        return Node("module", [*_held_by(thing), ("__class__", type(thing))])
    return None


def _held_by(module: nn.Module) -> list[tuple[object, object]]:
    """List what a module holds: parameters, buffers and modules under their names, hooks without their numbers."""
    held: dict[str, object] = {}
    for name, value in vars(module).items():
        if name in ("_parameters", "_buffers", "_modules"):
            held.update(value)
        elif "hook" in name and isinstance(value, dict):
            # A hook's number counts all hooks of the process.
            held.update({name: list(value.values())} if value else {})
        else:
            held[name] = value
    return by_name(held.items())


def _open_other(thing: Any) -> Node:
    """Open any other object by its class and what pickle would keep; where it keeps nothing, it is not known."""
    kind = type(thing)
    own: list[tuple[object, object]] = [("__class__", kind)]
    if isinstance(thing, weakref.ref):
        return Node("reference", [*own, ("", thing())])
    if kind.__module__ == "_thread" and kind.__name__ in _LOCKS:
        return Node("lock")  # whoever holds it changes no value
    if any(base.__module__ in ("ctypes", "_ctypes") for base in kind.__mro__):
        return Node("ctypes", [*own, *_attributes(thing)], known=False)
    try:
        told = copyreg.dispatch_table.get(kind)
        kept = told(thing) if told else thing.__reduce_ex__(2)
        if isinstance(kept, str):
            release = installed(module_of(thing))
            return Node(f"{full_name(kind)} {kept} {release}", [*own, *_attributes(thing)])
        return Node("object", [*own, *_kept(*kept)])
    except Exception:  # whatever a class of somebody else raises where it cannot be pickled
        return Node(f"object {full_name(kind)}", [*own, *_attributes(thing)], known=False)


def _kept(
    make: Any, arguments: tuple[Any, ...], state: Any = None, items: Any = None, pairs: Any = None, *rest: Any
) -> list[tuple[object, object]]:
    """List the parts of what pickle keeps; nothing is made of it."""
    simple = full_name(make) == "copyreg.__newobj__" and len(arguments) == 1
    parts: list[tuple[object, object]] = [] if simple else [("__reduce__", make), ("__new__", arguments)]
    states = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    if all(part is None or (type(part) is dict and all(type(key) is str for key in part)) for part in states):
        parts += by_name((name, value) for part in states if part for name, value in part.items())
    else:
        parts += [("__getstate__", state)]
    parts += [("", list(items))] if items is not None else []
    return parts + ([("", dict(pairs))] if pairs is not None else [])


def _attributes(thing: object) -> list[tuple[object, object]]:
    """List what an object holds by name."""
    found = dict(getattr(thing, "__dict__", {}))
    for base in type(thing).__mro__:
        slots = vars(base).get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            name = f"_{base.__name__.lstrip('_')}{slot}" if slot.startswith("__") and not slot.endswith("__") else slot
            if name not in ("__dict__", "__weakref__") and hasattr(thing, name):
                found[name] = getattr(thing, name)
    return by_name(found.items())
