"""One forward pass whose prefix is looked up: held modules give stored tensors, or ghosts."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from frostline.replaying.ghosts.ghost import NOTHING, Ghost
from frostline.replaying.keeping import spelled
from frostline.replaying.operations import name_of, versions_of
from frostline.replaying.probe.frontier import Frontier
from frostline.replaying.probe.lineage import Lineage, parts
from frostline.replaying.probe.steps import Given, Registered, Step, step_of
from frostline.replaying.refusal import Refusal
from frostline.replaying.slots import Slot
from frostline.replaying.tape import Follower, Tape


class Replaying:
    """Stands in for the steps of a network, and gives what operations between them make.

    Args:
        frontier: knows which calls are replaced.
        values: the stored tensors of a batch.
        arguments: the tensors that the network gets, by place.
        registered: names of its parameters and buffers.
        count: number of samples.
        device: where the network is.
        tape: the steps of an earlier pass with as many samples.

    Attributes:
        made: the ghosts of this pass; when it is over nobody may have one.
    """

    def __init__(
        self,
        frontier: Frontier,
        values: Mapping[Slot, Tensor],
        *,
        arguments: Mapping[int, Tensor],
        registered: Registered,
        count: int,
        device: torch.device,
        tape: Tape,
    ) -> None:
        self._frontier = frontier
        # Whatever works on them in place works on this batch's alone.
        self._values = {**{slot: one.clone() for slot, one in frontier.constants.items()}, **values}
        self._arguments = {id(tensor): Slot("", 0, place) for place, tensor in arguments.items()}
        self._registered = registered
        self._count = count
        self._device = device
        self._follower = Follower(tape, arguments.values(), self._values)
        self.made = self._follower.made
        self._lineage = Lineage()
        self._versions = dict(zip(map(id, self._values.values()), versions_of([*self._values.values()]), strict=True))
        self._outermost: dict[str, int] = {}
        self._inside = 0

    def enter(self, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Let a network that calls itself do so."""
        return original(*args, **kwargs)

    def call(self, name: str, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Give what a call gave when it was computed: stored tensors and ghosts.

        Raises:
            Refusal: it gets other things than in the probe.
        """
        if self._inside:
            return original(*args, **kwargs)
        number = self._outermost[name] = self._outermost.get(name, 0) + 1
        shape = self._frontier.calls.get((name, number))
        if shape is None:
            self._inside += 1
            try:
                return original(*args, **kwargs)
            finally:
                self._inside -= 1
        given = spelled(args, kwargs)
        followed = self._follower.follow((name, number), given)
        if followed is not NOTHING:
            return followed
        self._catch_up()
        # No ghost needs a gradient, and to ask it takes its time.
        if any(isinstance(one, Tensor) and not isinstance(one, Ghost) and one.requires_grad for one in given):
            raise Refusal(f"the held {name} gets something trained, which it did not in the probe")
        if self._frontier.steps_seen.find(self._step(f"{name} {number}", given, makes=Slot(name, number, 0))) is None:
            raise Refusal(f"the held {name} gets other things than in the probe")
        slots = self._frontier.slots[name, number]
        tensors = {slot.leaf: self._tensor(slot) for slot in slots}
        self._name_all(slots, tensors)
        output = shape.filled(tensors)
        self._follower.write((name, number), given, output, note=slots)
        return output

    def _catch_up(self) -> None:
        """Name what was made while the tape was followed."""
        for turn, given, output in self._follower.behind:
            if isinstance(turn.note, Done):
                self._named(given, output, done=turn.note, makes=self._makes(turn.note.operation, given))
            elif turn.note is not None:
                self._name_all(turn.note, dict(enumerate(tree_flatten(output)[0])))
        self._follower.behind.clear()

    def _tensor(self, slot: Slot) -> Tensor:
        tensor = self._values.get(slot)
        if tensor is None:
            tensor = Ghost(self._frontier.layouts[slot].without_values(self._count), device=self._device)
            self.made.append(weakref.ref(tensor))
        return tensor

    def _name_all(self, slots: Sequence[Slot], tensors: Mapping[int, Tensor]) -> None:
        for slot in slots:
            self._name(tensors[slot.leaf], slot)

    def _name(self, tensor: Tensor, slot: Slot) -> None:
        self._lineage.name(tensor, slot)
        if not isinstance(tensor, Ghost):
            self._versions.setdefault(id(tensor), *versions_of([tensor]))

    def _step(self, name: str, leaves: list[Any], *, makes: Slot | None = None) -> Step:
        return step_of(name, leaves, count=self._count, given=self._given_as, makes=makes)

    def _given_as(self, tensor: Tensor) -> Given:
        known = self._lineage.of(tensor) or self._arguments.get(id(tensor))
        if isinstance(tensor, Ghost):
            return known
        # What is handed out may have been written into since; nobody sees that.
        if known is not None and self._versions.get(id(tensor), version := versions_of([tensor])[0]) == version:
            return known
        return self._registered.name(tensor) or tensor

    def followed(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Give what an operation on ghosts gave at this place of an earlier pass, or `NOTHING`."""
        return self._follower.follow(func, spelled(args, kwargs))

    def found(self, func: Callable[..., Any], arguments: Any, output: Any, *, writes: bool = False) -> Any:
        """Give what an operation on ghosts gives: what is stored of it, or ghosts.

        Raises:
            Refusal: it gets other things than in the probe, or gives another shape.
        """
        given, operation = spelled(*arguments), name_of(func)
        # What changes nothing gives what it was given: the samples, which their loop keeps.
        known = {id(one) for one in given}
        ghosts = [one for one in tree_flatten(output)[0] if isinstance(one, Ghost) and id(one) not in known]
        self.made += map(weakref.ref, ghosts)
        if self._inside:
            self._follower.write(func, given, output, note=None)
            return output
        self._catch_up()
        makes = self._makes(operation, given)
        step = self._frontier.steps_seen.find(self._step(operation, given, makes=makes))
        if step is None:
            raise Refusal(f"{operation} was not done to what is held in the probe, or not in this way")
        done = Done(operation, writes, followed=step.parent is not None)
        output = self._named(given, output, done=done, makes=makes)
        self._follower.write(func, given, output, note=done)
        return output

    def _makes(self, operation: str, given: Sequence[Any]) -> Slot | None:
        return self._lineage.step(operation, [one for one in given if isinstance(one, Tensor)])

    def _named(self, given: Sequence[Any], output: Any, *, done: "Done", makes: Slot | None) -> Any:
        """Name what an operation makes, and put what is stored of it in its place."""
        leaves, spec = tree_flatten(output)
        if done.writes:
            written = {id(one.memory) for one in leaves if isinstance(one, Ghost)}
            self._lineage.forget(lambda tensor: isinstance(tensor, Ghost) and id(tensor.memory) in written)
            return output
        if makes is None or not done.followed:
            return output
        named = {id(tensor): slot for slot, tensor in parts(makes, output)}
        for place, leaf in enumerate(leaves):
            slot = named.get(id(leaf))
            if slot is None or self._lineage.of(leaf) is not None:
                continue
            if slot in self._values:
                if leaf.shape != self._values[slot].shape:
                    raise Refusal(f"{slot} has another shape than in the probe")
                leaves[place] = self._values[slot]
            self._name(leaves[place], slot)
        return tree_unflatten(leaves, spec)


@dataclass(frozen=True, slots=True)
class Done:
    """What is known of an operation on held tensors.

    Attributes:
        operation: its name.
        writes: whether it makes what it gives in the place of what it was given.
        followed: whether what it gives is named after what it was given.
    """

    operation: str
    writes: bool
    followed: bool
