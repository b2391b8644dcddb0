"""Ghosts: tensors with shape, type and device and without values, on which every operation gives a ghost."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch._C import _nn
from torch.utils._pytree import tree_flatten, tree_map

from frostline.replaying.keeping import all_leaves
from frostline.replaying.operations import is_about_the_tensor, label_of, name_of, needs_memory, writes_into
from frostline.replaying.refusal import Refusal

# What asks for the real tensors when the network itself runs on them.
THE_NETWORK = "the network"


class Source(Protocol):
    """Knows the samples that ghosts stand for."""

    def real(self, ticket: "Ticket", why: str) -> Tensor:
        """Give the tensor that a loader would have given, and hear what for."""

    def fetch(self, entries: Sequence[int]) -> Mapping[Any, Tensor]:
        """Give what a network's frozen part makes of samples, put together as it gave it, free to be written into."""


@dataclass(frozen=True, eq=False)
class Ticket:
    """What an issued ghost stands for, as long as nothing has worked on it.

    Attributes:
        leaf: which tensor of a sample it is (its place among the tensors of a sample).
        entries: numbers of the samples, in order.
        source: knows the samples.
        batched: whether it stands for a batch (N × …) or for one sample.
    """

    leaf: int
    entries: tuple[int, ...]
    source: "Source"
    batched: bool

    def real(self, why: str) -> Tensor:
        """Give the tensor that the loader would have given."""
        return self.source.real(self, why)

    def batch(self, parts: Sequence["Ticket"]) -> "Ticket":
        """Put the tickets of some samples or batches together."""
        entries = tuple(entry for part in parts for entry in part.entries)
        return Ticket(self.leaf, entries, self.source, True)


class Ghost(torch.Tensor):
    """A tensor that nobody has computed.

    One that was issued by a loader carries a ticket. It may be batched, moved and handed to the network; whatever else
    is done to it is done to the tensor that it stands for. Inside of a replayed network there are only shapes: every
    operation gives a ghost without a ticket, and what needs values ends the replay.
    """

    ticket: Ticket | None

    @staticmethod
    def __new__(cls, like: Tensor, *, device: torch.device, ticket: Ticket | None = None) -> "Ghost":
        """Make a ghost with the shape, strides and type of a tensor."""
        made: Ghost = torch.Tensor._make_wrapper_subclass(
            cls, like.shape, strides=like.stride(), dtype=like.dtype, device=device
        )
        made.ticket = ticket
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        what = f"of samples {list(self.ticket.entries)}" if self.ticket is not None else "without values"
        return f"Ghost({tuple(self.shape)}, {self.dtype}, {what})"

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if is_about_the_tensor(func):
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        inside = _state.inside
        if inside is None:
            return _outside(func, args, kwargs)
        try:
            return _derived(func, args, kwargs, inside.found)
        except Refusal as refusal:
            inside.faults.append(refusal)
            raise

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Reached by code that goes around torch's own interface (compiled code, extensions)."""
        refusal = Refusal(f"{func} works on a tensor that replay does not compute")
        if _state.inside is not None:
            _state.inside.faults.append(refusal)
        raise refusal


_TYPES = {"float": torch.float32, "double": torch.float64, "half": torch.float16, "bfloat16": torch.bfloat16,
          "long": torch.int64, "int": torch.int32, "bool": torch.bool}  # fmt: skip


class Found(Protocol):
    """Knows what is stored of what operations make."""

    def __call__(self, operation: str, label: str, ghosts: Sequence["Ghost"], output: Any, /) -> Any:
        """Give what an operation makes.

        Args:
            operation: its name.
            label: name and plain values that it was given.
            ghosts: that it was given.
            output: ghosts of what it makes.
        """


@dataclass(frozen=True)
class _Inside:
    """A forward pass of ghosts: what is stored, and what refused, in case that the network's own code catches it."""

    found: Found
    faults: list[Refusal] = field(default_factory=list)


class _State(threading.local):
    inside: _Inside | None = None


_state = _State()


@contextmanager
def inside_a_network(found: Found) -> Iterator[None]:
    """Let every operation on a ghost give a ghost; outside, an operation makes it the tensor that it stands for.

    Args:
        found: may give stored tensors in place of what an operation would give.

    Raises:
        Refusal: something inside needed values, also where somebody caught it on the way.
    """
    _state.inside, before = _Inside(found), _state.inside
    inside = _state.inside
    try:
        yield
    finally:
        _state.inside = before
    if inside.faults:
        raise inside.faults[0]


def has_ghost(value: Any) -> bool:
    """Whether there is a ghost in nested containers and objects."""
    return any(isinstance(leaf, Ghost) for leaf in all_leaves(value))


# Change where a tensor is, or its type, and nothing else.
_MOVES = ("to", "cuda", "cpu", "pin_memory", "type", "type_as", *_TYPES)


def _derived(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], found: Found) -> Any:
    """Run an operation on shapes alone.

    Raises:
        Refusal: it needs values, meets something trained, or writes into a tensor that has values.
    """
    name = name_of(func)
    leaves = tree_flatten((args, kwargs))[0]
    ghosts = [leaf for leaf in leaves if isinstance(leaf, Ghost)]
    if any(isinstance(leaf, Tensor) and leaf.requires_grad and not isinstance(leaf, Ghost) for leaf in leaves):
        raise Refusal(f"{name} brings a tensor that replay does not compute together with something trained")
    if needs_memory(name):
        raise Refusal(f"{name} reads values of a tensor that replay does not compute")
    target = writes_into(func, args, kwargs)
    if target is not None and any(not isinstance(one, Ghost) for one in tree_flatten(target)[0]):
        raise Refusal(f"{name} writes a tensor that replay does not compute into one that has values")
    device = ghosts[0].device
    label = label_of(name, args, kwargs)
    if name in _MOVES:
        if not isinstance(args[0], Ghost):  # a real tensor is made like a ghost
            return args[0].to(device=device, dtype=ghosts[0].dtype)
        return found(name, label, ghosts, _moved(name, args, kwargs))
    if "device" in kwargs:
        kwargs = {**kwargs, "device": "meta"}
    shapes: dict[int, Ghost] = {}

    def shape_only(leaf: Any) -> Any:
        if isinstance(leaf, Ghost):
            with torch._C.DisableTorchFunctionSubclass():
                empty = torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype, device="meta")
            shapes[id(empty)] = leaf
            alive.append(empty)
            return empty
        return leaf.detach().to("meta") if isinstance(leaf, Tensor) else leaf

    alive: list[Tensor] = []
    try:
        with torch.no_grad():
            out = func(*tree_map(shape_only, args), **tree_map(shape_only, kwargs))
    except Exception as error:
        reason = str(error).partition("\n")[0][:120]
        raise Refusal(f"{name} needs values that replay does not compute ({reason})") from None
    if target is not None:
        return args[0] if isinstance(args[0], Ghost) and kwargs.get("out") is None else target

    def ghost_of(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return shapes[id(leaf)] if id(leaf) in shapes else Ghost(leaf, device=device)

    return found(name, label, ghosts, tree_map(ghost_of, out))


def _moved(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ghost:
    """Move a ghost to another device or type; the ticket stays where the type does."""
    ghost: Ghost = args[0]
    device, dtype = ghost.device, ghost.dtype
    if name in _TYPES:
        dtype = _TYPES[name]
    elif name == "type_as":
        dtype, device = args[1].dtype, args[1].device
    elif name == "to":
        other = args[1] if len(args) > 1 else kwargs.get("other")
        if isinstance(other, Tensor):
            device, dtype = other.device, other.dtype
        else:
            asked_device, asked_dtype, *_ = _nn._parse_to(*args[1:], **kwargs)
            device, dtype = asked_device or device, asked_dtype or dtype
    elif name == "type":
        asked_type = args[1] if len(args) > 1 else kwargs.get("dtype")
        if not isinstance(asked_type, torch.dtype):
            raise Refusal("type asks for the type of a tensor that replay does not compute, or names one in words")
        dtype = asked_type
    elif name == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    elif name == "cpu":
        device = torch.device("cpu")
    kept = ghost.ticket if dtype == ghost.dtype else None
    if kept is not None and device == ghost.device:
        return ghost
    empty = torch.empty_strided(ghost.shape, ghost.stride(), dtype=dtype, device="meta")
    return Ghost(empty, device=device, ticket=kept)


def _outside(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Between loader and network: batch and move issued ghosts; anything else gets the tensors they stand for.

    Raises:
        Refusal: a ghost of the inside of a network came out, and there is nothing that it stands for.
    """
    name = name_of(func)
    first: Any = args[0] if args else None
    if name == "stack" and _may_batch(first, args, kwargs, batched=False):
        return _batch(first, (len(first), *first[0].shape))
    if name in ("cat", "concat", "concatenate") and _may_batch(first, args, kwargs, batched=True):
        return _batch(first, (sum(part.shape[0] for part in first), *first[0].shape[1:]))
    if isinstance(first, Ghost) and first.ticket is not None:
        if name in ("contiguous", "detach", "clone") or (name == "requires_grad_" and args[1:] == (False,)):
            return first
        if name in _MOVES and name != "type":
            moved = _moved(name, args, kwargs)
            if moved.ticket is not None:
                return moved

    def real(leaf: Any) -> Any:
        if not isinstance(leaf, Ghost):
            return leaf
        if leaf.ticket is None:
            raise Refusal(f"{name} works on a tensor of the inside of a replayed network, which has no values")
        return leaf.ticket.real(name).to(leaf.device)

    return func(*tree_map(real, args), **tree_map(real, kwargs))


def _may_batch(parts: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, batched: bool) -> bool:
    """Whether samples, or batches of them, are put behind each other along the first dimension, whole."""
    if not isinstance(parts, (list, tuple)) or kwargs.get("out") is not None:
        return False
    dim = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0))
    issued = [part.ticket for part in parts if isinstance(part, Ghost) and part.ticket is not None]
    return (
        dim == 0
        and len(issued) == len(parts)
        and len({(ticket.leaf, id(ticket.source), ticket.batched) for ticket in issued}) == 1
        and issued[0].batched is batched
        and len({(part.shape[int(batched) :], part.dtype, part.device) for part in parts}) == 1
    )


def _batch(parts: Sequence[Ghost], shape: tuple[int, ...]) -> Ghost:
    tickets = [part.ticket for part in parts if part.ticket is not None]
    empty = torch.empty(shape, dtype=parts[0].dtype, device="meta")
    return Ghost(empty, device=parts[0].device, ticket=tickets[0].batch(tickets))
