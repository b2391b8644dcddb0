"""What is kept of a sample: all but the tensors that the network alone takes, of which a mark is left."""

from typing import Any

from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from frostline.replaying.refusal import Refusal
from frostline.replaying.slots import same_numbers
from frostline.replaying.store.values import to_text

# In place of a sample's tensor that the network alone takes.
_LEFT_OUT = "\x00 left out"


def left_out(sample: Any, leaves: frozenset[int]) -> Any:
    """Give a sample of its own, with a mark in the place of some of its tensors."""
    flat, spec = tree_flatten(sample)
    place, kept = -1, []
    for leaf in flat:
        place += isinstance(leaf, Tensor)
        kept.append(_LEFT_OUT if isinstance(leaf, Tensor) and place in leaves else own(leaf))
    return tree_unflatten(kept, spec)


def packed(sample: Any, spec: TreeSpec) -> list[Any] | tuple[Any]:
    """Give what is stored of a sample: its leaves in a list, or, where its containers nest in another way, itself."""
    flat, own_spec = tree_flatten(sample)
    return flat if own_spec == spec else (sample,)


def own(leaf: Any) -> Any:
    """Give a leaf that nobody else has: collate functions may write into it."""
    if isinstance(leaf, Tensor):
        return leaf.clone()
    return leaf.copy() if hasattr(leaf, "__array__") else leaf


def is_left_out(leaf: Any) -> bool:
    """Whether a leaf is the mark of a tensor that was left out."""
    return isinstance(leaf, str) and leaf == _LEFT_OUT


def same_sample(one: Any, other: Any) -> bool:
    """Whether two readings of a sample agree: tensors in every number, and whatever else can be compared."""
    return same_items(tree_flatten(one), tree_flatten(other))


def same_items(one: tuple[list[Any], TreeSpec], other: tuple[list[Any], TreeSpec]) -> bool:
    """As `same_sample`, of what `tree_flatten` gave."""
    return one[1] == other[1] and all(map(_same, one[0], other[0]))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return type(one) is type(other) and same_numbers(one, other)
    try:
        return to_text(one, name="") == to_text(other, name="")
    except Refusal:
        return type(one) is type(other)  # of what cannot be compared, it is said later that it cannot be stored
