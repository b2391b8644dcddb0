"""Tapes: a pass whose steps were all found is followed the next time, step by step, by identity.

To see that a step is the one that came at this place before, on the same tensors of this pass, takes a fifth of the
time of finding it among those of the probe. Where another one comes, it is looked for as if there were no tape.
"""

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from frostline.replaying.ghosts.ghost import NOTHING, Ghost
from frostline.replaying.operations import versions_of
from frostline.replaying.slots import PLAIN, Slot

_COMPARED = (*PLAIN, type(Ellipsis), complex, torch.memory_format)
# 0 is -0, and no number that is none equals itself.
_BY_WORDS = (float, complex)


@dataclass(frozen=True, slots=True)
class _New:
    """A ghost that a step makes.

    Attributes:
        shape, stride, dtype: of it.
        device: where it is.
        shares: the place of a tensor in whose memory it lies; None: in its own.
        like: the same on the device `meta`.
    """

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    shares: int | None
    like: Tensor = field(compare=False)


@dataclass(frozen=True, slots=True)
class _Place:
    """A tensor of this pass, by the order in which they came."""

    number: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One step of a pass.

    Attributes:
        what: the operation, or name and number of the call.
        given: its leaves: the place of a tensor, a plain value, or `NOTHING` for one that has to be looked at.
        followed: whether it is known by these alone; else it is looked for each time.
        leaves: of what it gives: the place of a tensor that was there, a new ghost, a slot that is stored, a plain
            value, or `NOTHING` for what is computed.
        spec: how they nest; None: there is one, by itself.
        note: of whoever keeps the tape.
    """

    what: Any
    given: tuple[Any, ...]
    followed: bool
    leaves: tuple[Any, ...]
    spec: TreeSpec | None
    note: Any


class Tape(list[Turn]):
    """The steps of the last pass, in order."""


class Follower:
    """One pass along a tape.

    Args:
        tape: is followed, and written anew from the step on that is another one.
        inputs: the tensors that the network gets.
        values: the stored tensors of this pass.

    Attributes:
        behind: the steps that were followed, with what they got and gave, until somebody takes them.
        made: the ghosts that were made on the way.
    """

    def __init__(self, tape: Tape, inputs: Iterable[Tensor], values: Mapping[Slot, Tensor]) -> None:
        self._tape = tape
        self._values = values
        self._at = 0
        self._tensors: list[Tensor] = []
        self._versions: list[int] = []
        self._places: dict[int, int] = {}
        for tensor in inputs:
            self._add(tensor)
        self.behind: list[tuple[Turn, Sequence[Any], Any]] = []
        self.made: list[weakref.ref[Ghost]] = []

    def follow(self, what: Any, leaves: Sequence[Any]) -> Any:
        """Give what a step gives, if it is the one of the tape; else `NOTHING`.

        Args:
            what: the operation, or name and number of the call.
            leaves: all that it gets, between marks of how they nest.
        """
        if self._at >= len(self._tape):
            return NOTHING
        turn = self._tape[self._at]
        if not turn.followed or turn.what != what or not self._is_given(turn.given, leaves):
            return NOTHING
        self._at += 1
        found = [self._leaf(leaf) for leaf in turn.leaves]
        output = found[0] if turn.spec is None else tree_unflatten(found, turn.spec)
        self.behind.append((turn, leaves, output))
        return output

    def write(self, what: Any, leaves: Sequence[Any], output: Any, *, note: Any) -> None:
        """Put a step that was looked for in its place on the tape.

        Args:
            what: the operation, or name and number of the call.
            leaves: all that it got.
            output: what it gives.
            note: comes with it in `behind`.
        """
        at, self._at = self._at, self._at + 1
        given = tuple(map(self._seen_as, leaves))
        shared = {id(leaf.memory): self._places[id(leaf)] for leaf in leaves if isinstance(leaf, Ghost)
                  if id(leaf) in self._places}  # fmt: skip
        flat, spec = tree_flatten(output)
        gives = tuple(self._described(leaf, shared) for leaf in flat)
        followed = not any(one is NOTHING for one in (*given, *gives))
        turn = Turn(what, given, followed, gives, None if spec.is_leaf() else spec, note)
        if at < len(self._tape):
            if turn == self._tape[at]:  # it has to be looked for each time; what comes behind it is the same
                return
            del self._tape[at:]
        self._tape.append(turn)

    def _is_given(self, given: Sequence[Any], leaves: Sequence[Any]) -> bool:
        return len(given) == len(leaves) and all(map(self._is, given, leaves))

    def _is(self, wanted: Any, leaf: Any) -> bool:
        if type(wanted) is _Place:
            if leaf is not self._tensors[wanted.number]:
                return False
            if type(leaf) is Ghost:  # somebody may have asked for its values meanwhile
                return leaf._cell is None or not leaf._cell.filled
            return not self._is_touched(leaf, wanted.number)
        if type(leaf) is not type(wanted):
            return False
        return bool(leaf == wanted) if not isinstance(leaf, _BY_WORDS) else repr(leaf) == repr(wanted)

    def _is_touched(self, tensor: Tensor, number: int) -> bool:
        """Whether a real tensor was written into, or is to have a gradient, since it came."""
        return tensor.requires_grad or versions_of([tensor])[0] != self._versions[number]

    def _seen_as(self, leaf: Any) -> Any:
        """Say what is compared of a leaf; NOTHING where it has to be looked at."""
        if isinstance(leaf, Tensor):
            number = self._places.get(id(leaf))
            if number is None or (not isinstance(leaf, Ghost) and self._is_touched(leaf, number)):
                return NOTHING
            return _Place(number)
        if isinstance(leaf, slice):
            return (
                leaf
                if all(isinstance(end, (int, type(None))) for end in (leaf.start, leaf.stop, leaf.step))
                else NOTHING
            )
        return leaf if isinstance(leaf, _COMPARED) else NOTHING

    def _described(self, leaf: Any, shared: Mapping[int, int]) -> Any:
        """Say how a leaf of an output comes about; NOTHING where it is computed."""
        if not isinstance(leaf, Tensor):
            return leaf if isinstance(leaf, PLAIN) else NOTHING
        if id(leaf) in self._places:
            return _Place(self._places[id(leaf)])
        self._add(leaf)
        if not isinstance(leaf, Ghost):
            return next((slot for slot, tensor in self._values.items() if tensor is leaf), NOTHING)
        with torch._C.DisableTorchFunctionSubclass():
            shape, stride, dtype, device = leaf.shape, leaf.stride(), leaf.dtype, leaf.device
        like = torch.empty_strided(shape, stride, dtype=dtype, device="meta")
        return _New(shape, stride, dtype, device, shared.get(id(leaf.memory)), like)

    def _leaf(self, leaf: Any) -> Any:
        if type(leaf) is _Place:
            return self._tensors[leaf.number]
        if type(leaf) is _New:
            ghost = Ghost(leaf.like, device=leaf.device)
            if leaf.shares is not None:
                ghost.memory = self._tensors[leaf.shares].memory  # type: ignore[attr-defined] # that of a ghost
            self.made.append(weakref.ref(ghost))
            self._add(ghost)
            return ghost
        if type(leaf) is Slot:
            self._add(self._values[leaf])
            return self._values[leaf]
        return leaf

    def _add(self, tensor: Tensor) -> None:
        self._places[id(tensor)] = len(self._tensors)
        self._tensors.append(tensor)
        self._versions.append(-1 if isinstance(tensor, Ghost) else versions_of([tensor])[0])
