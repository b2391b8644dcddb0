"""Steps: what is done to held tensors on their way, and whether it is done in the same way again."""

import weakref
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from frostline.freezing import digest
from frostline.replaying.refusal import Refusal
from frostline.replaying.slots import PLAIN, Slot, same_numbers

# Beside held tensors, of which there is one a sample, a step is given constants; those are kept and compared.
MOST_BYTES = 32 * 2**20
# So many steps are known without being looked for again.
MOST_FOUND = 10_000

# What a tensor is to a step: named among what is held, or among parameters and buffers; unnamed, made of several held
# ones or of samples (None); or a constant.
Given = Slot | str | None | Tensor


@dataclass(frozen=True)
class Step:
    """One operation, or one call of a held module.

    Attributes:
        name: of the operation, or of the module and the number of its call.
        plain: what it was given beside tensors, in order; all but whole numbers as text.
        given: its tensors, in order.
        count: samples of the batch.
        makes: the name of what it makes: of a call, or of an operation on one held tensor alone.
    """

    name: str
    plain: tuple[int | str, ...]
    given: tuple[Given, ...]
    count: int
    makes: Slot | None = None

    def kept(self) -> "Step":
        """Give the step with constants of its own.

        Raises:
            Refusal: a constant is too large to be kept.
        """
        return replace(self, given=tuple(self._own(one) for one in self.given))

    def _own(self, one: Given) -> Given:
        if not isinstance(one, Tensor):
            return one
        constant, whole = one.detach(), one.shape
        # What is the same for every sample takes the room of one.
        for dim in range(constant.ndim):
            if constant.shape[dim] == self.count and _is_stretched(constant, dim):
                constant = constant.narrow(dim, 0, 1)
        if constant.nbytes > MOST_BYTES:
            raise Refusal(f"{self.name} works on what is held together with a large tensor that is made in every step")
        return constant.clone().expand(whole)

    @property
    def counts(self) -> bool:
        """Whether a number may say how many samples there are."""
        return any(isinstance(one, int) and one > 0 and one % self.count == 0 for one in self.plain)

    @property
    def parent(self) -> Slot | None:
        """What it works on, where that is one held tensor, beside constants."""
        held = {one for one in self.given if isinstance(one, Slot)}
        return held.pop() if len(held) == 1 and all(one is not None for one in self.given) else None

    def __str__(self) -> str:
        words = [digest(one) if isinstance(one, Tensor) else str(one) for one in self.given]
        return f"{self.name} {self.plain} {words} {self.makes or ''}"


def step_of(
    name: str, leaves: Iterable[Any], *, count: int, given: Callable[[Tensor], Given], makes: Slot | None = None
) -> Step:
    """Describe a step.

    Args:
        name: of the operation or call.
        leaves: all that it gets, between marks of how they nest.
        count: samples of the batch.
        given: says what a tensor is.
        makes: the name of what it makes, if all that it gets has one.
    """
    plain: list[int | str] = []
    tensors: list[Given] = []
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            tensors.append(given(leaf))
        else:
            plain += _plain(leaf)
    step = Step(name, tuple(plain), tuple(tensors), count)
    named = makes is not None and (not makes.then or step.parent is not None)
    return replace(step, makes=makes) if named else step


class Registered:
    """The names of a network's parameters and buffers, by identity.

    Args:
        model: the network, as it is now: what it puts in the place of a buffer later has no name.
    """

    def __init__(self, model: nn.Module) -> None:
        parameters = model.named_parameters(remove_duplicate=False)
        named = (*parameters, *model.named_buffers(remove_duplicate=False))
        self._names = {id(tensor): (weakref.ref(tensor), name) for name, tensor in named}

    def name(self, tensor: Tensor) -> str | None:
        """Give the name of a tensor, or None."""
        # Where a buffer was replaced, another tensor may have come to lie in its place.
        known = self._names.get(id(tensor))
        return known[1] if known is not None and known[0]() is tensor else None


def _plain(leaf: Any) -> list[int | str]:
    if isinstance(leaf, slice):
        return ["slice", *_plain(leaf.start), *_plain(leaf.stop), *_plain(leaf.step)]
    if isinstance(leaf, torch.Size):
        return list(leaf)
    if isinstance(leaf, int) and not isinstance(leaf, bool):
        return [leaf]
    if isinstance(leaf, PLAIN) or leaf is Ellipsis or isinstance(leaf, (complex, range, Enum)):
        return [repr(leaf)]
    kind = type(leaf)
    if kind.__module__ == "numpy" and hasattr(leaf, "tobytes") and not leaf.dtype.hasobject:
        return [f"numpy {leaf.dtype} {leaf.shape} {zlib.crc32(leaf.tobytes())}"]
    # Of what is no number, and no name, its kind.
    return [repr(leaf) if kind.__module__ == "torch" else f"{kind.__module__}.{kind.__qualname__}"]


def _is_stretched(tensor: Tensor, dim: int) -> bool:
    """Whether a tensor is the same everywhere along a dimension: networks stretch constants over a batch."""
    size = tensor.shape[dim]
    return tensor.stride(dim) == 0 or torch.equal(tensor.narrow(dim, 1, size - 1), tensor.narrow(dim, 0, size - 1))


def _is_same_for_each(one: Tensor, other: Tensor, *, counts: tuple[int, int]) -> bool:
    """Whether two constants are the same, or the same for each sample of batches with so many."""
    if _equal(one, other):
        return True
    grown = [dim for dim in range(one.ndim) if one.ndim == other.ndim and one.shape[dim] != other.shape[dim]]
    if len(grown) != 1:
        return False
    (dim,) = grown
    if one.shape[dim] * counts[1] != other.shape[dim] * counts[0] or not one.numel() or not other.numel():
        return False
    return (
        _is_stretched(one, dim) and _is_stretched(other, dim) and _equal(one.narrow(dim, 0, 1), other.narrow(dim, 0, 1))
    )


@dataclass
class Steps:
    """The steps of several passes, and whether another step is one of them.

    Attributes:
        small: those of passes with few samples, by name.
        large: those of a pass with more.
    """

    small: Mapping[str, Sequence[Step]]
    large: Mapping[str, Sequence[Step]]
    handed_out: frozenset[Slot] = field(default_factory=frozenset)
    _found: dict[Step, Step | None] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, small: Iterable[Step], large: Iterable[Step], *, handed_out: Iterable[Slot]) -> "Steps":
        """Put the steps of passes together.

        Args:
            small: with few samples.
            large: with more.
            handed_out: what is stored: what is made of it is not followed.
        """
        return cls(_by_name(small), _by_name(large), frozenset(handed_out))

    @property
    def has_nameless(self) -> bool:
        """Whether a step gets a tensor without a name: made of several held ones, of samples, or written into."""
        return any(one is None for steps in self.small.values() for step in steps for one in step.given)

    @property
    def words(self) -> list[str]:
        """Say what is done, for a digest: the same in every process."""
        return sorted({str(step) for steps in self.small.values() for step in steps})

    def find(self, step: Step) -> Step | None:
        """Give the step that was seen and that this one is; what counts with the batch may be another number."""
        if any(isinstance(one, Tensor) for one in step.given):  # which has to be looked at each time
            return self._look_for(step)
        if step not in self._found:
            if len(self._found) >= MOST_FOUND:  # a batch of another size has other numbers
                self._found.clear()
            self._found[step] = self._look_for(step)
        return self._found[step]

    def _look_for(self, step: Step) -> Step | None:
        near = [known for known in self.small.get(step.name, ()) if self._like(known, step)]
        for known in near:
            if known.plain == step.plain and not known.counts:
                return known
        if any(self._like(known, step) and _scaled(known, step) for known in self.large.get(step.name, ())):
            return next((known for known in near if _scaled(known, step)), None)
        return None

    def _like(self, known: Step, step: Step) -> bool:
        # Two operations of one kind on the same tensor are told apart by their order, which is in the name.
        named = known.makes is not None and step.makes is not None
        if (named and known.makes != step.makes) or len(known.given) != len(step.given):
            return False
        counts = (known.count, step.count)
        return all(self._same(one, other, counts) for one, other in zip(known.given, step.given, strict=True))

    def _same(self, known: Given, now: Given, counts: tuple[int, int]) -> bool:
        if isinstance(known, Tensor):
            return isinstance(now, Tensor) and _is_same_for_each(known, now.detach(), counts=counts)
        if isinstance(now, Tensor):
            # Made of something real: the arguments of the network, or what is handed out.
            return known is None or (isinstance(known, Slot) and not self.handed_out.isdisjoint(known.line))
        return known == now


def _by_name(steps: Iterable[Step]) -> dict[str, list[Step]]:
    found: dict[str, list[Step]] = {}
    for step in steps:
        found.setdefault(step.name, []).append(step)
    return found


def _scaled(known: Step, step: Step) -> bool:
    """Whether numbers are the same, or the same multiple of the number of samples."""
    return len(known.plain) == len(step.plain) and all(
        one == other
        or (
            isinstance(one, int)
            and isinstance(other, int)
            and one > 0
            and one % known.count == 0
            and other == one // known.count * step.count
        )
        for one, other in zip(known.plain, step.plain, strict=True)
    )


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.device == other.device and same_numbers(one, other)
