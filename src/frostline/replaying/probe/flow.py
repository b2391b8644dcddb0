"""Follow one real batch through a network: which outputs of held modules meet something trained, and which do not."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten

from frostline.replaying.keeping import all_leaves, kept_tensors, spelled, tensors_of
from frostline.replaying.operations import (
    is_about_the_tensor,
    name_of,
    reads_values,
    storage_of,
    versions_of,
    written_by,
)
from frostline.replaying.probe.checkpoints import Checkpoints
from frostline.replaying.probe.lineage import Lineage, parts
from frostline.replaying.probe.steps import Given, Registered, Step, step_of
from frostline.replaying.refusal import Refusal
from frostline.replaying.slots import Shape, Slot
from frostline.replaying.watcher import Watcher


@dataclass(frozen=True)
class Mark:
    """A tensor that must not be stored: `trained` (it changes with training) or random, and by what."""

    kind: str
    by: str = ""


TRAINED = Mark("trained")


@dataclass(frozen=True)
class Call:
    """One call of a held module before anything trained: what it gave, and what that depends on.

    Attributes:
        shape: of its output.
        values: its tensors by leaf.
        origins: slots and held tensors that its arguments depend on, directly.
        nested: which of all calls of this module it was, those inside of other held modules counted too.
        seconds: that it took.
    """

    shape: Shape
    values: dict[int, Tensor]
    origins: frozenset[Slot | str]
    nested: int
    seconds: float


@dataclass(frozen=True)
class Made:
    """What one operation made of a slot alone: its value, and the held tensors that took part."""

    parent: Slot
    value: Tensor
    origins: frozenset[str]


@dataclass
class Seen:
    """What one pass saw: the calls in order, the live slots, and the output.

    Attributes:
        calls: by module and number.
        live: slots that met something trained.
        made: what operations made of one slot alone.
        reads: slots whose values the network's own code looked at, and how.
        inputs: what the network was given, by place.
        steps: calls and operations on slots, in order, with what they were given.
        drew: whether anything drew random numbers that can be noticed.
        output: what the network gave.
    """

    calls: dict[tuple[str, int], Call] = field(default_factory=dict)
    live: set[Slot] = field(default_factory=set)
    made: dict[Slot, Made] = field(default_factory=dict)
    reads: dict[Slot, str] = field(default_factory=dict)
    inputs: dict[int, Tensor] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    drew: bool = False
    output: Any = None

    def let_go(self) -> None:
        """Forget the tensors that calls gave; large ones cost more to get from the system than to compute."""
        for call in self.calls.values():
            call.values.clear()

    def knows(self, slot: Slot) -> bool:
        """Whether there is a tensor of that name."""
        return slot in self.made or (not slot.then and (slot.module, slot.call) in self.calls)

    def value(self, slot: Slot) -> Tensor:
        """Give the tensor of a slot."""
        return self.made[slot].value if slot.then else self.calls[slot.module, slot.call].values[slot.leaf]


class NotARoot(Exception):  # noqa: N818 - a finding, not a mistake
    """A module whose call cannot be replaced as a whole; its parts may be."""

    def __init__(self, module: str, why: str) -> None:
        super().__init__(f"{module}: {why}")
        self.module = module


class Flow(Watcher):
    """One forward pass of real tensors, each of which knows what it comes from.

    Outputs of held modules are slots. An operation outside of them passes origins on; one that brings a slot together
    with something trained makes it live. Origins belong to storages, so that writing into a view marks the whole.

    Args:
        modules: those of the network, by name.
        named: every tensor of the network with its name; those that need a gradient are trained.
        moving: names of tensors that change in training without a gradient.
        free: names of modules without tensors: pooling, flattening, activations.
        wholly_trained: names of modules in which nothing is held; what they draw concerns nobody else.
        draws: notices random numbers; gives what was drawn since it was asked last.
        count: samples of the batch.
    """

    def __init__(
        self,
        *,
        modules: Mapping[str, nn.Module],
        named: Mapping[str, Tensor],
        moving: Iterable[str],
        free: Iterable[str],
        wholly_trained: Iterable[str],
        draws: Callable[[], str],
        count: int,
    ) -> None:
        super().__init__()
        self._count = count
        self._registered = Registered(modules[""])
        self._arguments: dict[int, Slot] = {}
        self.seen = Seen()
        self._entered = False
        self._given: set[Slot] = set()
        self._modules = modules
        self._free = frozenset(free)
        self._draws = draws
        self._origins: dict[int, frozenset[Any]] = {}
        self._lineage = Lineage()
        self._alive: list[Tensor] = []  # a storage's address is its own as long as it lives
        self._outermost: dict[str, int] = {}
        self.nested: dict[str, int] = {}
        self._loose = ""
        self._steered = ""
        self._again = Checkpoints()
        self.running: list[str] = []  # modules whose forward runs, innermost last
        self._wholly_trained = frozenset(wholly_trained)
        moving = frozenset(moving)
        for name, tensor in named.items():
            self._put(tensor, {TRAINED} if tensor.requires_grad or name in moving else {name})

    def enter(self, tensors: Mapping[int, Tensor]) -> None:
        """Take what the network is given for slots.

        Raises:
            Refusal: it was called before.
        """
        if self._entered:
            raise Refusal("the network is called more than once with a batch")
        self._entered = True
        self.seen.inputs = dict(tensors)
        self._arguments = {id(tensor): Slot("", 0, place) for place, tensor in tensors.items()}
        for leaf, tensor in tensors.items():
            self._put(tensor, {Slot("", 0, leaf)})
            self._given.add(Slot("", 0, leaf))

    def leave(self, output: Any, kept: Any = None) -> None:
        """Take the network's output, and what its modules keep for later: it must have values."""
        self._drawn()
        self.seen.output = output
        self._meet(self.origins(*tensors_of([*all_leaves(output), *all_leaves(kept, depth=2)])))

    def show(self, values: Any) -> None:
        """Take what somebody's hook gets for needed; the samples themselves may be had at any time."""
        if not self._inside:
            self._meet(frozenset(one for one in self.origins(*tensors_of(values)) if one not in self._given))

    def origins(self, *tensors: Tensor) -> frozenset[Any]:
        """Say what tensors come from."""
        found: frozenset[Any] = frozenset()
        for tensor in tensors:
            stored = self._origins.get(storage_of(tensor), frozenset())
            named = self._lineage.of(tensor)
            if named is not None:
                # A part of a storage, such as a class token, is less than the whole.
                stored = frozenset(origin for origin in stored if not isinstance(origin, Slot)) | {named}
            found |= stored
        return found

    def _put(self, tensor: Tensor, origins: Iterable[Any]) -> None:
        self._alive.append(tensor)
        self._origins[storage_of(tensor)] = frozenset(origins)

    def _add(self, tensor: Tensor, origins: frozenset[Any]) -> None:
        self._put(tensor, self.origins(tensor) | origins)

    def _meet(self, origins: frozenset[Any]) -> None:
        self.seen.live |= {origin for origin in origins if isinstance(origin, Slot)}

    def _drawn(self) -> str:
        drawn = self._draws()
        self.seen.drew = self.seen.drew or bool(drawn)
        return drawn

    def _note_loose_draws(self, drawn: str, by: str, *, called: str = "") -> None:
        """Keep in mind random numbers that no tensor shows: what decides whether a layer runs at all."""
        if drawn and not any(name in self._wholly_trained for name in self.running):
            where = next((name for name in reversed(self.running) if name not in ("", called)), "")
            self._loose = self._loose or f"{by} of {where or 'the network'}, from {drawn}"

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and pass origins on."""
        kwargs = kwargs or {}
        name = name_of(func)
        if self._inside or is_about_the_tensor(func):
            return func(*args, **kwargs)
        given = tensors_of((args, kwargs))
        origins = self.origins(*given)
        slots = {origin for origin in origins if isinstance(origin, Slot)}
        made = self._lineage.step(name, given)
        trained = any(tensor.requires_grad for tensor in given) or TRAINED in origins
        if reads_values(name):
            for slot in slots:
                self.seen.reads.setdefault(slot.root, name)
            if trained:
                self._steered = self._steered or name
        if slots or trained:
            self._again.note(trained=trained)
        if slots and not trained:
            self.seen.steps.append(self._step(name, spelled(args, kwargs), makes=made))
        before = versions_of(given)
        self._note_loose_draws(self._drawn(), "its own code")
        # The operation itself runs unseen: torch's own functions are made of others.
        out = self._unseen(func, args, kwargs)
        drawn = self._drawn()
        if drawn and not slots:
            self._note_loose_draws(drawn, name)
        if slots and not trained:
            if drawn:
                origins |= {Mark("random", name)}
            elif name == "batch_norm" and _is_training(args, kwargs):
                origins |= {Mark("random", f"{name} of the batch's own statistics")}
        if trained:
            self._meet(origins)
            origins = frozenset({TRAINED})
        if not origins:
            return out
        targets = written_by(func, args, kwargs, given=given, versions=before)
        written = {storage_of(tensor) for tensor in targets}
        # A plain number that was drawn, or read from something trained, is in no tensor's origins.
        settled = not self._loose and not self._steered
        if written:
            self._lineage.forget(lambda tensor: storage_of(tensor) in written)
        elif (
            settled
            and made is not None
            and slots == {made_of(made)}
            and self.seen.steps[-1].parent == made_of(made)
            and not any(isinstance(one, Mark) for one in origins)
        ):
            names = frozenset(origin for origin in origins if isinstance(origin, str))
            for slot, tensor in parts(made, out):
                if self._lineage.of(tensor) is None:
                    self.seen.made[slot] = Made(made_of(made), self._copied(tensor), names)
                    self._lineage.name(tensor, slot)
                    if storage_of(tensor) not in self._origins:
                        self._put(tensor, {slot})
                    self._alive.append(tensor)
            return out
        for tensor in [*targets, *tensors_of(out)]:
            if trained:
                self._put(tensor, origins)
            else:
                self._add(tensor, origins)
        return out

    def call(self, name: str, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a held module as one step.

        Raises:
            NotARoot: it cannot be replaced as a whole.
            Refusal: what it is given is random, or depends on what trains in a way that no tensor shows.
        """
        self.nested[name] = self.nested.get(name, 0) + 1
        if self._inside:
            return original(*args, **kwargs)
        given = tensors_of((args, kwargs))
        origins = self.origins(*given)
        slots = frozenset(origin for origin in origins if isinstance(origin, Slot))
        trained = any(tensor.requires_grad for tensor in given) or TRAINED in origins
        random = next((origin for origin in origins if isinstance(origin, Mark) and origin is not TRAINED), None)
        count = self._outermost[name] = self._outermost.get(name, 0) + 1
        versions, (leaves_given, nested) = versions_of(given), tree_flatten((args, kwargs))
        words = spelled(args, kwargs)
        kept = kept_tensors(self._modules[name])
        self._note_loose_draws(self._drawn(), "its own code", called=name)
        begun = time.perf_counter()
        output = self._alone(original, args, kwargs)
        if any(one.is_cuda for one in given):
            torch.cuda.synchronize()
        seconds = time.perf_counter() - begun
        drawn = self._drawn()
        outputs = tensors_of(output)
        if trained or not slots:
            # Behind the frontier, or made of constants: computed in every step.
            self._again.note(trained=trained)
            self._meet(slots if trained else frozenset())
            for tensor in outputs:
                self._put(tensor, {TRAINED} if trained else origins | {name})
            return output
        stored = {storage_of(tensor) for tensor in given}
        fault = ""
        self._again.note(trained=False)
        if kept_tensors(self._modules[name]).keys() - kept.keys():
            fault = "it keeps a tensor for later"
        elif versions_of(given) != versions or not _are(tree_flatten((args, kwargs)), leaves_given, nested):
            fault = "it writes into what it is given"
        elif any(storage_of(tensor) in stored for tensor in outputs):
            fault = "it gives what it was given"
        try:
            shape = Shape.of(output)
        except Refusal as refusal:
            fault = refusal.reason
        if name in self._free:
            larger = sum(one.nbytes for one in outputs) > sum(one.nbytes for one in given)
            if fault or drawn or random or len(slots) > 1 or larger or self._loose or self._steered:
                for tensor in [*outputs, *given] if "writes" in fault else outputs:
                    self._add(tensor, origins | ({Mark("random", name)} if drawn else set()))
                return output
        elif random is not None:
            raise Refusal(f"{random.by} acts before the held {name}: what it gives is another in every step")
        elif self._loose:
            raise Refusal(f"random numbers are drawn before the held {name} ({self._loose})")
        elif drawn:
            raise Refusal(f"the held {name} draws random numbers, from {drawn}")
        elif self._steered:
            raise Refusal(f"{self._steered} reads a value of something trained before the held {name} runs")
        elif fault:
            raise NotARoot(name, fault)
        leaves = {leaf: tensor for leaf, tensor in enumerate(tree_flatten(output)[0]) if isinstance(tensor, Tensor)}
        for leaf, tensor in leaves.items():
            if shape.same[leaf] == leaf:
                self._put(tensor, {Slot(name, count, leaf)})
                self._lineage.name(tensor, Slot(name, count, leaf))
        values = {leaf: self._copied(tensor) for leaf, tensor in leaves.items()}
        depends = frozenset(origin for origin in origins if isinstance(origin, (Slot, str))) | {name}
        self.seen.calls[name, count] = Call(shape, values, depends, self.nested[name], seconds)
        self.seen.steps.append(self._step(f"{name} {count}", words, makes=Slot(name, count, 0)))
        return output

    def _step(self, name: str, leaves: list[Any], *, makes: Slot | None = None) -> Step:
        return step_of(name, leaves, count=self._count, given=self._given_as, makes=makes).kept()

    def _given_as(self, tensor: Tensor) -> Given:
        if any(isinstance(origin, Slot) for origin in self.origins(tensor)):
            return self._lineage.of(tensor) or self._arguments.get(id(tensor))
        return self._registered.name(tensor) or tensor


def made_of(slot: Slot) -> Slot:
    """Give the slot that the last operation worked on."""
    return replace(slot, then=slot.then[:-1])


def _are(now: tuple[list[Any], TreeSpec], leaves: Sequence[Any], nested: TreeSpec) -> bool:
    """Whether containers hold what they held."""
    return now[1] == nested and all(map(is_, now[0], leaves))


def _is_training(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a normalisation takes the batch's statistics: its sixth argument."""
    names = ("training", "use_input_stats")
    return bool(next((kwargs[name] for name in names if name in kwargs), args[5] if len(args) > 5 else False))
