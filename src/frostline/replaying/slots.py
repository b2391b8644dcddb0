"""Slots: which tensors cross from held modules into trained ones, and where the samples lie in each of them."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from frostline.freezing import digest
from frostline.replaying.refusal import Refusal

# So many fit into a line.
_NAMED = 6


@dataclass(frozen=True, order=True)
class Slot:
    """One tensor that a module gives, or that operations make of it alone.

    What the network is given are slots of the module "" in call 0.

    Attributes:
        module: dotted name.
        call: which of its calls in a forward, from 1.
        leaf: which leaf of its output.
        then: the operations, each with the number of times that it was done to the tensor before it.
    """

    module: str
    call: int
    leaf: int
    then: tuple[str, ...] = ()

    @property
    def root(self) -> "Slot":
        """What the module gave."""
        return Slot(self.module, self.call, self.leaf)

    @property
    def line(self) -> tuple["Slot", ...]:
        """What the module gave, and what each operation made of it, up to this one."""
        return tuple(Slot(self.module, self.call, self.leaf, self.then[:count]) for count in range(len(self.then) + 1))

    def __str__(self) -> str:
        name = self.module or "the network's input"
        call = f", call {self.call}" if self.call > 1 else ""
        made = "".join(f" > {one.removesuffix('#1')}" for one in self.then)
        return f"{name}{call}" + (f" [{self.leaf}]" if self.leaf else "") + made


def listed(slots: Sequence[Slot]) -> str:
    """Name slots for a person; of many, the first ones and the last.

    >>> listed([Slot("stem", 1, 0), Slot("body", 2, 0, ("mean#1",))])
    'stem, body, call 2 > mean'
    >>> listed([Slot(f"block{number}", 1, 0) for number in range(1, 13)])
    'block1, block2, block3 … block12 (12 tensors)'
    """
    names = [str(slot) for slot in slots]
    if len(names) <= _NAMED:
        return ", ".join(names)
    return f"{', '.join(names[: _NAMED // 2])} … {names[-1]} ({len(names)} tensors)"


@dataclass(frozen=True)
class Layout:
    """Where the samples lie in a tensor, and in which order its numbers lie in memory.

    Attributes:
        dim: the dimension that grows with the batch; None: the tensor does not depend on the batch.
        factor: how much it grows with each sample (windows, patches, heads folded into the batch).
        samples_first: whether the parts of a sample lie together in that dimension.
        shape: of one sample, `factor` apart where it is more than 1.
        order: the dimensions of one sample by stride, largest first (channels-last: height, width, channels).
        dtype: of the numbers.
        whole_order: the dimensions of a whole batch by stride.
    """

    dim: int | None
    factor: int
    samples_first: bool
    shape: tuple[int, ...]
    order: tuple[int, ...]
    dtype: torch.dtype
    whole_order: tuple[int, ...]

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample."""
        return int(torch.Size(self.shape).numel()) * self.dtype.itemsize

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of one sample as it is stored: by stride."""
        return tuple(self.shape[place] for place in self.order)

    def rows(self, tensor: Tensor) -> Tensor:
        """Take a batch apart: N × stored shape, contiguous.

        Raises:
            Refusal: it does not lie in it as it did in the probe.
        """
        if tensor.ndim <= (self.dim or 0) or tensor.shape[self.dim or 0] % self.factor:
            raise Refusal(f"a batch of shape {tuple(tensor.shape)} is not like those of the probe")
        apart = self._apart(tensor)
        if tuple(apart.shape[1:]) != self.shape or tensor.dtype != self.dtype:
            raise Refusal(f"a batch of shape {tuple(tensor.shape)} is not like those of the probe")
        return apart.permute(0, *(place + 1 for place in self.order)).contiguous()

    def _apart(self, tensor: Tensor) -> Tensor:
        if self.dim is None:
            raise ValueError("a tensor that does not depend on the batch has no rows")
        if self.factor == 1:
            return tensor.movedim(self.dim, 0)
        count = tensor.shape[self.dim] // self.factor
        sizes = (count, self.factor) if self.samples_first else (self.factor, count)
        shape = (*tensor.shape[: self.dim], *sizes, *tensor.shape[self.dim + 1 :])
        return tensor.reshape(shape).movedim(self.dim + (0 if self.samples_first else 1), 0)

    def whole(self, rows: Tensor) -> Tensor:
        """Put rows together again: the batch as the network gave it, in the same order in memory."""
        if self.dim is None:
            raise ValueError("a tensor that does not depend on the batch has no rows")
        back = sorted(range(len(self.order)), key=self.order.__getitem__)
        apart = rows.permute(0, *(place + 1 for place in back))
        if self.factor == 1:
            whole = apart.movedim(0, self.dim)
        else:
            whole = apart.movedim(0, self.dim + (0 if self.samples_first else 1)).flatten(self.dim, self.dim + 1)
        back = sorted(range(whole.ndim), key=self.whole_order.__getitem__)
        return whole.permute(self.whole_order).contiguous().permute(back)

    def without_values(self, count: int) -> Tensor:
        """Give a batch of so many samples on the device `meta`: shape, strides and type."""
        return _without_values(self, count)


@lru_cache(maxsize=1024)
def _without_values(layout: Layout, count: int) -> Tensor:
    shape = layout.stored_shape if layout.dim is None else (count, *layout.stored_shape)
    empty = torch.empty(shape, dtype=layout.dtype, device="meta")
    if layout.dim is not None:
        return layout.whole(empty)
    return empty.permute(*sorted(range(len(layout.order)), key=layout.order.__getitem__))


def find_layout(small: Tensor, large: Tensor, *, small_count: int, large_count: int) -> Layout:
    """Find where the samples lie, from the same tensor of two batches; the small one has the last of the large one.

    Args:
        small: of `small_count` samples.
        large: of `large_count` samples.
        small_count: at least 2.
        large_count: more than that.

    Raises:
        Refusal: no dimension, or more than one, grows with the batch.
    """
    if small.ndim != large.ndim or small.dtype != large.dtype:
        raise Refusal(f"its shape changes with the batch: {tuple(small.shape)}, {tuple(large.shape)}")
    grown = [dim for dim in range(small.ndim) if small.shape[dim] != large.shape[dim]]
    if not grown:
        return Layout(None, 1, True, tuple(small.shape), _by_stride(small), small.dtype, _by_stride(large))
    dim = grown[0]
    factor = small.shape[dim] // small_count
    if len(grown) > 1 or (small.shape[dim], large.shape[dim]) != (factor * small_count, factor * large_count):
        raise Refusal(f"its shape does not grow with the batch: {tuple(small.shape)}, {tuple(large.shape)}")
    for samples_first in (True, False) if factor > 1 else (True,):
        layout = Layout(dim, factor, samples_first, (), (), small.dtype, ())
        one, other = layout._apart(small), layout._apart(large)[-small_count:]
        found = Layout(
            dim, factor, samples_first, tuple(one.shape[1:]), _by_stride(one[0]), small.dtype, _by_stride(large)
        )
        # With one row a sample there is only one way to tell them apart.
        if factor == 1 or alike(one, other):
            return found
    raise Refusal("the samples of a batch cannot be told apart in it")


def same_numbers(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two tensors are of one type and shape and hold the same numbers; a NaN equals itself, and 0 is -0."""
    if ours.dtype != theirs.dtype or ours.shape != theirs.shape:  # torch compares numbers of two types
        return False
    with suppress(NotImplementedError):  # types that torch stores and does not compare
        if torch.equal(ours, theirs):
            return True
    return digest(ours) == digest(theirs)


def alike(ours: Tensor, theirs: Tensor, *, tolerance: float | None = None) -> bool:
    """Whether two tensors are the same but for rounding: differences by their largest magnitude."""
    if ours.dtype == theirs.dtype and torch.equal(ours, theirs):
        return True
    if not ours.is_floating_point() and not ours.is_complex():
        return False
    kind = 1e-4 if ours.dtype in (torch.float32, torch.float64, torch.complex64) else 5e-2
    ours, theirs = (tensor if tensor.is_complex() else tensor.float() for tensor in (ours, theirs))
    finite = ours.isfinite()
    if not torch.equal(finite, theirs.isfinite()):
        return False
    scale = ours[finite].abs().max() if finite.any() else torch.ones(())
    return bool((ours - theirs)[finite].abs().le((tolerance or kind) * scale + 1e-12).all())


def _by_stride(tensor: Tensor) -> tuple[int, ...]:
    strides = tensor.stride()
    # Stable, so a contiguous tensor keeps its order, also where a dimension of size 1 has any stride.
    return tuple(sorted(range(tensor.ndim), key=lambda dim: -strides[dim] if tensor.shape[dim] > 1 else 0))


PLAIN = (type(None), bool, int, float, str, torch.dtype, torch.device, torch.Size)


@dataclass(frozen=True)
class Shape:
    """What a call gave: how its containers nest, and its leaves.

    Attributes:
        spec: how the containers nest.
        plain: the leaves that are no tensors, by place; a tensor's place is empty.
        same: for every leaf the place of the first leaf that is the same tensor.
    """

    spec: TreeSpec
    plain: tuple[Any, ...]
    same: tuple[int, ...]

    @classmethod
    def of(cls, output: Any) -> "Shape":
        """Take the structure of an output.

        Raises:
            Refusal: it holds things that are neither tensors nor plain values.
        """
        leaves, spec = tree_flatten(output)
        strange = next((leaf for leaf in leaves if not isinstance(leaf, (Tensor, *PLAIN))), None)
        if strange is not None:
            raise Refusal(f"it gives a {type(strange).__name__}")
        first: dict[int, int] = {}
        same = tuple(first.setdefault(id(leaf), place) for place, leaf in enumerate(leaves))
        return cls(spec, tuple(None if isinstance(leaf, Tensor) else leaf for leaf in leaves), same)

    @cached_property
    def is_one_leaf(self) -> bool:
        """Whether the output is no container."""
        return bool(self.spec.is_leaf())

    def filled(self, tensors: dict[int, Tensor]) -> Any:
        """Give the output again, with these tensors by leaf."""
        leaves = [tensors.get(first, value) for first, value in zip(self.same, self.plain, strict=True)]
        return leaves[0] if self.is_one_leaf else tree_unflatten(leaves, self.spec)
