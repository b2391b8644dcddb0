"""Ghosts: tensors with shape, type and device and without values, on which every operation gives a ghost."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.overrides import enable_reentrant_dispatch
from torch.utils._pytree import tree_flatten, tree_map

from frostline.replaying.ghosts.cell import Cell
from frostline.replaying.ghosts.moves import MOVES, goal_of, makes_a_copy
from frostline.replaying.keeping import all_leaves, flat
from frostline.replaying.operations import is_about_the_tensor, name_of, needs_memory, writes_into
from frostline.replaying.refusal import Refusal

# What asks for the real tensors when the network itself runs on them.
# What takes a tensor that replay itself gives to the network.
READ_AGAIN = "replay"
THE_NETWORK = "the network"
# In place of what an operation makes: that it is not known.
NOTHING: Any = object()
# Said of an operation with a parameter.
ANOTHER_NETWORK = "of a part of the network, or of another one,"


class Source(Protocol):
    """Knows the samples that ghosts stand for."""

    def real(self, ticket: "Ticket", why: str) -> Tensor:
        """Give the tensor that a loader would have given, and hear what for."""

    def kept(self, ticket: "Ticket") -> Tensor:
        """Give a tensor that is real in batches, as the loader gives it."""

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

    One that was issued by a loader carries a ticket. It may be batched, moved, copied and handed to the network;
    whatever else is done to it is done to the tensor that it stands for, and from then on it is as good as that one:
    it carries no ticket any more. Inside of a replayed network there are only shapes: every operation gives a ghost
    that stands for nothing, and what needs values ends the replay.
    """

    memory: object  # the same one for views of each other; of an issued one its ticket
    _ticket: Ticket | None
    _cell: Cell[Ticket] | None

    @staticmethod
    def __new__(
        cls, like: Tensor, *, device: torch.device, ticket: Ticket | None = None, cell: Cell[Ticket] | None = None
    ) -> "Ghost":
        """Make a ghost with the shape, strides and type of a tensor; issued ones have a ticket, or the cell of one."""
        made: Ghost = torch.Tensor._make_wrapper_subclass(
            cls, like.shape, strides=like.stride(), dtype=like.dtype, device=device
        )
        made._ticket, made._cell = ticket if cell is None else cell.ticket, cell
        made.memory = made._ticket or object()
        return made

    @property
    def ticket(self) -> Ticket | None:
        """What an issued ghost stands for, as long as nothing has worked on it."""
        return self._ticket if self._cell is None else self._cell.ticket

    @property
    def cell(self) -> Cell[Ticket] | None:
        """What holds the tensor that an issued ghost stands for; made late, because few are asked for it."""
        if self._cell is None and self._ticket is not None:
            self._cell = Cell(self._ticket, self.device)
        return self._cell

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        if self._cell is not None and self._cell.filled:
            return repr(self._cell.real("repr"))
        what = f"of samples {list(self.ticket.entries)}" if self.ticket is not None else "without values"
        return f"Ghost({tuple(self.shape)}, {self.dtype}, {what})"

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if is_about_the_tensor(func):
            if args and _is_made(args[0]) and (name := name_of(func)) not in _ITS_OWN:
                return func(args[0].cell.real(name), *args[1:], **kwargs)
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        inside = _state.inside
        if inside is None:
            return _outside(func, args, kwargs)
        known = inside.replayed.followed(func, args, kwargs)
        if known is not NOTHING:
            return known
        try:
            return _derived(func, args, kwargs, inside.replayed.found)
        except Refusal as refusal:
            inside.faults.append(refusal)
            raise

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Reached by code that goes around torch's own interface (scripts, vmap, extensions)."""
        name = str(func.name()).rpartition("::")[2].partition(".")[0]
        if name == "is_pinned":
            return False
        if _state.inside is None:
            # Gradients are recorded above this place.
            with enable_reentrant_dispatch():
                return _on_reals(name, func, args, kwargs or {})
        refusal = Refusal(f"{func} works on a tensor that replay does not compute")
        if _state.inside is not None:
            _state.inside.faults.append(refusal)
        raise refusal


# Of a ghost that is as good as its tensor these stay its own: sets and dictionaries know it by them.
_ITS_OWN = ("__hash__", "__dir__")


class Replayed(Protocol):
    """A replayed pass: it knows what is stored of what operations make."""

    def followed(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], /) -> Any:
        """Give what an operation made in an earlier pass, with the ghosts of this one; `NOTHING` where it is not known.

        Args:
            func: the operation.
            args: what it is given.
            kwargs: what it is given by name.
        """

    def found(self, func: Callable[..., Any], arguments: Any, output: Any, /, *, writes: bool = False) -> Any:
        """Give what an operation makes.

        Args:
            func: the operation.
            arguments: all that it was given.
            output: ghosts of what it makes.
            writes: whether it makes it in the place of what it was given.
        """


@dataclass(frozen=True)
class _Inside:
    """A forward pass of ghosts: what is stored, and what refused, in case that the network's own code catches it."""

    replayed: Replayed
    faults: list[Refusal] = field(default_factory=list)


class _State(threading.local):
    inside: _Inside | None = None


_state = _State()


@contextmanager
def inside_a_network(replayed: Replayed) -> Iterator[None]:
    """Let every operation on a ghost give a ghost; outside, an operation makes it the tensor that it stands for.

    Args:
        replayed: may give stored tensors in place of what an operation would give.

    Raises:
        Refusal: something inside needed values, also where somebody caught it on the way.
    """
    _state.inside, before = _Inside(replayed), _state.inside
    inside = _state.inside
    try:
        yield
    finally:
        _state.inside = before
    if inside.faults:
        raise inside.faults[0]


def _is_made(value: Any) -> bool:
    """Whether it is an issued ghost whose tensor something has asked for: it is as good as that one."""
    return isinstance(value, Ghost) and value._cell is not None and value._cell.filled


def has_ghost(value: Any) -> bool:
    """Whether there is a ghost in nested containers and objects."""
    return any(isinstance(leaf, Ghost) for leaf in all_leaves(value))


def _derived(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], found: Callable[..., Any]) -> Any:
    """Run an operation on shapes alone.

    Raises:
        Refusal: it needs values, meets something trained, or writes into a tensor that has values.
    """
    name = name_of(func)
    leaves = flat((args, kwargs))
    ghosts = [leaf for leaf in leaves if isinstance(leaf, Ghost)]
    if any(isinstance(leaf, Tensor) and leaf.requires_grad and not isinstance(leaf, Ghost) for leaf in leaves):
        raise Refusal(f"{name} brings a tensor that replay does not compute together with something trained")
    if needs_memory(name):
        raise Refusal(f"{name} reads values of a tensor that replay does not compute")
    if any(_is_made(ghost) for ghost in ghosts):
        raise Refusal(f"{name} works on samples on which something worked before they reached the network")
    target = writes_into(func, args, kwargs)
    if target is not None and any(not isinstance(one, Ghost) for one in tree_flatten(target)[0]):
        raise Refusal(f"{name} writes a tensor that replay does not compute into one that has values")
    if target is not None and any(isinstance(one.memory, Ticket) for one in tree_flatten(target)[0]):
        raise Refusal(f"{name} writes into the samples, which somebody may look at again")
    device = ghosts[0].device
    given = (args, kwargs)
    if name in MOVES:
        if not isinstance(args[0], Ghost):  # a real tensor is made like a ghost
            return found(func, given, args[0].to(device=device, dtype=ghosts[0].dtype))
        moved = _moved(name, args, kwargs)
        # What changes nothing gives the tensor itself, as torch does.
        same = (moved.dtype, moved.device) == (args[0].dtype, args[0].device)
        return found(func, given, args[0] if same and not {"copy", "memory_format"} & kwargs.keys() else moved)
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
        return found(
            func, given, args[0] if isinstance(args[0], Ghost) and kwargs.get("out") is None else target, writes=True
        )
    memory = {empty.untyped_storage()._cdata: shapes[id(empty)].memory for empty in alive}

    def ghost_of(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if id(leaf) in shapes:
            return shapes[id(leaf)]
        made = Ghost(leaf, device=device)
        made.memory = memory.get(leaf.untyped_storage()._cdata, made.memory)
        return made

    return found(func, given, tree_map(ghost_of, out))


def _moved(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ghost:
    """Move a ghost to another device or type; it is issued as before where the type stays."""
    ghost: Ghost = args[0]
    device, dtype = goal_of(name, args, kwargs)
    issued = ghost.ticket is not None and dtype == ghost.dtype
    if issued and device == ghost.device:
        return ghost
    cell = ghost.cell.copied(lambda real: real.to(device)) if issued and ghost.cell is not None else None
    return Ghost(_empty(ghost, dtype), device=device, cell=cell)


def _empty(ghost: Ghost, dtype: torch.dtype | None = None) -> Tensor:
    return torch.empty_strided(ghost.shape, ghost.stride(), dtype=dtype or ghost.dtype, device="meta")


def _passed_on(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ghost | None:
    """Detach, copy or move an untouched ghost; None where something else is done to it, or it gets other numbers."""
    name = name_of(func)
    ghost: Ghost = args[0]
    cell = ghost.cell
    if cell is None:
        return None
    setting = getattr(func, "__name__", "") == "__set__"
    if name in ("requires_grad_", "requires_grad"):
        return ghost if (args[1:] or tuple(kwargs.values())) == (False,) else None
    if name == "detach" or (name == "data" and not setting):
        return Ghost(_empty(ghost), device=ghost.device, cell=cell.shared(lambda real: func(real)))
    if name not in ("contiguous", "clone", "__deepcopy__", *MOVES) or name == "type":
        return None
    device, dtype = goal_of(name, args, kwargs)
    if dtype != ghost.dtype:
        return None
    layout = kwargs.get("memory_format") or (torch.contiguous_format if name == "contiguous" else torch.preserve_format)
    copies = device != ghost.device or makes_a_copy(name, args, kwargs)
    if not copies and layout is torch.preserve_format:
        return ghost
    empty = _empty(ghost)
    made = empty.clone(memory_format=layout) if copies else empty.contiguous(memory_format=layout)
    if made is empty:
        return ghost
    if name == "pin_memory":
        return Ghost(made, device=device, cell=cell.copied(lambda real: real.pin_memory()))
    return Ghost(made, device=device, cell=cell.copied(lambda real: real.to(device, memory_format=layout, copy=True)))


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
    if isinstance(first, Ghost) and first.ticket is not None and (passed := _passed_on(func, args, kwargs)) is not None:
        return passed
    return _on_reals(name, func, args, kwargs)


def _on_reals(name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Do something to the tensors that issued ghosts stand for; what it writes stays in them.

    Raises:
        Refusal: a ghost of the inside of a network came out, and there is nothing that it stands for.
    """
    leaves = tree_flatten((args, kwargs))[0]
    why = f"{name} {ANOTHER_NETWORK}" if any(isinstance(leaf, nn.Parameter) for leaf in leaves) else name

    def real(leaf: Any) -> Any:
        if not isinstance(leaf, Ghost):
            return leaf
        if leaf.cell is None:
            raise Refusal(f"{name} works on a tensor of the inside of a replayed network, which has no values")
        return leaf.cell.real(why)

    output = func(*tree_map(real, args), **tree_map(real, kwargs))
    # What makes a parameter of a tensor wants the same type back.
    return args[0] if name == "requires_grad_" and isinstance(args[0], Ghost) else output


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
