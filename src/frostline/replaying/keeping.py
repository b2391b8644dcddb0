"""What can be found in containers, in objects, and in the plain attributes of modules."""

from collections import deque
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

# Of these types a thing is its own only leaf.
_SINGLE = (Tensor, type(None), bool, int, float, str)


def flat(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Give the leaves of arguments in the order of torch's `tree_flatten`; most arguments nest nothing."""
    if not kwargs and all(isinstance(one, _SINGLE) for one in args):
        return list(args)
    return tree_flatten((args, kwargs))[0]


def all_leaves(value: Any, *, depth: int = 4) -> list[Any]:
    """Give the leaves of nested containers, and of objects that are no plain containers."""
    found: list[Any] = []
    for leaf in tree_flatten(value)[0]:
        if isinstance(leaf, (set, frozenset, deque)):
            found += all_leaves(list(leaf), depth=depth)
        elif isinstance(leaf, (Tensor, nn.Module, type)) or not hasattr(leaf, "__dict__") or not depth:
            found.append(leaf)
        else:
            found += all_leaves([own for _, own in sorted(vars(leaf).items())], depth=depth - 1)
    return found


def attributes(module: nn.Module) -> dict[str, Any]:
    """Give what a module keeps as plain attributes."""
    return {name: value for name, value in vars(module).items() if not name.startswith("_") and name != "forward"}


def kept_tensors(module: nn.Module) -> dict[int, Tensor]:
    """Give the tensors that a module and its parts keep beside parameters and buffers, by identity."""
    return {
        id(leaf): leaf
        for part in module.modules()
        for leaf in all_leaves(attributes(part), depth=2)
        if isinstance(leaf, Tensor)
    }
