"""Replay: run a network whose frozen prefix is looked up; where that would not be exact, run it as it is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from frostline.freezing import PlanHandle
from frostline.replaying.compiling import uncompiled
from frostline.replaying.entrance import Entrance, made_real
from frostline.replaying.ghosts.ghost import READ_AGAIN, THE_NETWORK, Ghost, Ticket, has_ghost, inside_a_network
from frostline.replaying.guarding.guard import Guard, Undo
from frostline.replaying.keeping import all_leaves, attributes
from frostline.replaying.operations import versions_of
from frostline.replaying.probe.arrival import Inputs, find_inputs, structure
from frostline.replaying.probe.cut import Room
from frostline.replaying.probe.flow import Flow, Seen
from frostline.replaying.probe.frontier import find_frontier, leaves_of
from frostline.replaying.probe.setting import Setting
from frostline.replaying.probe.steps import Registered
from frostline.replaying.recording.key import Survey, slot_key, tensors_under
from frostline.replaying.refusal import Refusal
from frostline.replaying.replaying import Replaying
from frostline.replaying.rerun import Rerun
from frostline.replaying.samples.feed import Feed, with_ghosts
from frostline.replaying.samples.probed import Probed, compare_outputs
from frostline.replaying.slots import same_numbers
from frostline.replaying.tape import Tape
from frostline.selection import undisturbed

# Batches of so many sizes are followed along a tape of their own.
_MOST_TAPES = 64


class Replayer:
    """A network under a plan that takes ghosts in place of samples.

    It has its own forward back with `leave`, or when the plan is lifted.

    Attributes:
        frontier: where frozen computation ends.
        leaves: which tensors of a sample may be ghosts.
        carrier: the argument that comes as a ghost only to say which samples it is of, and is read again; or None.
        survey: what another replayer of the same plan may start from.
        refused: why replay is off, or None.
        replayed: number of forward passes whose prefix was looked up.
        left: whether the network has its own forward back.
    """

    def __init__(
        self,
        handle: PlanHandle,
        feed: Feed,
        samples: Sequence[Any],
        *,
        known: Survey | None = None,
        room: Room | None = None,
    ) -> None:
        """Probe the network with samples.

        Args:
            handle: the plan in force.
            feed: runs the network.
            samples: four real ones to probe with.
            known: what an earlier probe under the same plan found.
            room: in the store; None: for all.

        Raises:
            Refusal: replay would not be exact.
        """
        self.handle = handle
        self.model = handle.model
        self.refused: str | None = None
        self.carrier: int | None = None
        # What was read again in place of a ghost: its ticket, and how often it had been written into.
        self._read: WeakKeyDictionary[Any, tuple[Ticket, int]] = WeakKeyDictionary()
        self.replayed = 0
        self.left = False
        self._tapes: dict[tuple[Any, ...], Tape] = {}
        held = set(handle.plan.held_buffers)
        self._moving = [
            (module, key)
            for name, module in self.model.named_modules()
            for key in module._buffers
            if f"{name}.{key}".lstrip(".") not in held
        ]
        self._entrance = Entrance.of(handle)
        self._entrance.replayers.append(self)
        try:
            with uncompiled():
                self._probe(feed, samples, known=known, room=room)
        except BaseException:
            self._entrance.leave(self)
            raise
        handle.on_lift(self.leave)

    def leave(self) -> None:
        """Give the network its own forward back; ghosts that still come are what they stand for."""
        self._entrance.leave(self)
        self.left = True

    def refuse(self, reason: str) -> None:
        """Switch replay off, for good; the first reason is kept."""
        self.refused = self.refused or reason

    def is_like(self, found: Inputs, setting: Setting) -> bool:
        """Whether another loader's samples come to the network as the probed ones did."""
        return setting == self.setting and found == self._inputs

    def check_unchanged(self) -> None:
        """Look at the frozen part itself, as at the start of every epoch; where it changed, replay is off."""
        try:
            self._guard.look()
        except Refusal as refusal:
            self.refuse(refusal.reason)

    # -- probing

    def _probe(self, feed: Feed, samples: Sequence[Any], *, known: Survey | None, room: Room | None) -> None:
        self.setting = Setting.now(feed.device)
        self._inputs = find_inputs(self.model, feed, samples, during=self._entrance.during)
        found, in_eval, in_train = find_frontier(
            self._entrance.watched,
            feed,
            samples,
            run=self._follow(feed),
            known=None if known is None else known.frontier,
            room=room,
        )
        # What else the network is given stays real.
        ghosts = {place: leaf for place, leaf in self._inputs.leaves.items() if place not in found.needed}
        if not ghosts:
            # Samples are known by a ghost. The last of a text is its mask, which is one under most other plans, too.
            self.carrier = max(self._inputs.leaves)
            ghosts = {self.carrier: self._inputs.leaves[self.carrier]}
        if strange := sorted(found.beside - self._inputs.leaves.keys()):
            raise Refusal(
                f"what is held works on argument {strange[0]}, which is no tensor of a sample as it was given"
            )
        self.frontier = replace(found, inputs=frozenset(ghosts))
        self.leaves = frozenset(ghosts.values())
        self._registered = Registered(self.model)
        names = {one for depends in found.depends.values() for one in depends}
        again = Rerun(self.model, feed, samples[:2], self.frontier, self.setting, in_eval)

        def same() -> bool:
            with self._entrance.during(None):  # it may be asked while a replayed pass begins
                return again.odd() is None

        self._guard = Guard(self.handle, tensors_under(self.model, names), frontier=found, same=same)
        self._check(feed, samples[:2], in_eval, in_eval.output, train=False)
        keys = {
            slot: slot_key(slot, frontier=self.frontier, handle=self.handle, setting=self.setting)
            for slot in self.frontier.stored
        }
        if known is not None and keys == known.keys and not any(key.unknown for key in keys.values()):
            # The same code and weights need not be tried in every way once more.
            self._check(feed, samples[:2], in_train, in_train.output, train=True)
            self.survey = replace(known, frontier=self.frontier)
            return
        # What is watched might compute in another way than what is not.
        computed = self._computed(feed, samples[:2])
        try:
            self._check(feed, samples[:2], in_train, computed, train=True)
        except Refusal:
            self._check_repeats(feed, samples[:2], computed)
            raise
        # Recording takes the tensors that the probe chose, unless modules are run without being called; and validation,
        # which runs without gradients, computes what was recorded with them.
        for gradients, where in ((True, "in recording"), (False, "without gradients")):
            if (odd := again.odd(gradients=gradients)) is not None:
                raise Refusal(f"{odd} is another tensor {where}")
        self.survey = Survey(self.frontier, keys, again.sample_seconds)

    def _follow(self, feed: Feed) -> Callable[[Flow, Any], None]:
        def run(flow: Flow, batch: Any) -> None:
            with self._entrance.during(_Following(flow, self.model)):
                feed.forward(self.model, batch)

        return run

    def _computed(self, feed: Feed, samples: Sequence[Any]) -> Any:
        """Give what the network makes of samples in train mode when nobody watches."""
        plain = _Keeping(lambda original, args, kwargs: original(*args, **kwargs))
        with undisturbed(self.model), torch.enable_grad():
            self.model.train()
            with self._entrance.during(plain):
                feed.forward(self.model, feed.batch(samples))
        return plain.output

    def _check_repeats(self, feed: Feed, samples: Sequence[Any], computed: Any) -> None:
        """See that the network gives the same again.

        Raises:
            Refusal: it does not, though it begins with the same random numbers: it seeds them itself, by the clock.
        """
        try:
            compare_outputs(self._computed(feed, samples), computed)
        except Refusal:
            raise Refusal("computed twice, the network gives another output, whatever random numbers are set") from None

    def _check(self, feed: Feed, samples: Sequence[Any], seen: Seen, expected: Any, *, train: bool) -> None:
        """Replay the probed batch from the values that were seen, and compare what comes out.

        Raises:
            Refusal: it is not the same to the bit.
        """
        probed = Probed(samples, {slot: seen.value(slot) for slot in self.frontier.stored})
        ghosts = [with_ghosts(sample, place, leaves=self.leaves, source=probed) for place, sample in enumerate(samples)]
        checking = _Keeping(self._replay)
        with undisturbed(self.model), torch.enable_grad():
            self.model.train(train)
            with self._entrance.during(checking):
                feed.forward(self.model, feed.batch(ghosts))
        if probed.touched:
            raise Refusal(f"{next(iter(probed.touched.values()))} is done to the network's input on the way")
        compare_outputs(checking.output, expected)

    # -- running

    def replay_or_compute(self, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Replay; if that turns out not to be exact, undo what it did and compute with what the ghosts stand for."""
        if self.refused is None:
            device = next(leaf.device for leaf in all_leaves((args, kwargs)) if isinstance(leaf, Ghost))
            undo = Undo(self._moving, self._guard.keeper, device=device)
            try:
                output = self._replay(original, args, kwargs)
            except Refusal as refusal:
                self.refuse(refusal.reason)
            except Exception as error:  # a ghost may be the reason; if not, it comes again
                self.refuse(f"{type(error).__name__} in a replayed forward: {error}")
            else:
                self.replayed += 1
                return output
            undo()
            for known in (self._read.get(one.cell) for one in all_leaves((args, kwargs)) if _is_read(one)):
                if known is not None:
                    known[0].source.real(known[0], THE_NETWORK)  # so that it counts as computed
        args, kwargs = made_real(args, kwargs)
        return original(*args, **kwargs)

    def _replay(self, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        leaves = leaves_of(args, kwargs)
        ghosts = {place: leaf for place, leaf in leaves.items() if isinstance(leaf, Ghost)}
        issued = ((place, self._ticket(ghost)) for place, ghost in ghosts.items())
        tickets = {place: ticket for place, ticket in issued if ticket is not None}
        if len(tickets) < len(ghosts):
            raise Refusal("something works on the samples before they reach the network")
        came = {place: ticket.leaf for place, ticket in tickets.items()}
        expected = {place: self._inputs.leaves[place] for place in self.frontier.inputs}
        if came != expected or structure((args, kwargs)) != self._inputs.structure:
            raise Refusal("the network is called with other things than in the probe")
        if len({(ticket.entries, id(ticket.source)) for ticket in tickets.values()}) != 1:
            raise Refusal("the network is called with several batches at once")
        device = next(iter(ghosts.values())).device
        if (now := Setting.now(device)) != self.setting:
            raise Refusal(f"it computes in {now}, what is stored is of {self.setting}")
        self._guard.glance()
        ticket = next(iter(tickets.values()))
        if getattr(ticket.source, "replayer", self) is not self:
            raise Refusal("the samples are those of a loader that is replayed for another network")
        if self.carrier is not None:
            leaves, args, kwargs = self._read_again(ghosts[self.carrier], args, kwargs)
        self._check_beside(leaves, ticket)
        values = ticket.source.fetch(ticket.entries)
        values = {slot: tensor.to(device, non_blocking=True) for slot, tensor in values.items()}
        replaying = Replaying(
            self.frontier,
            values,
            arguments=leaves,
            registered=self._registered,
            count=len(ticket.entries),
            device=device,
            tape=self._tape(len(ticket.entries), ghosts),
        )
        with self._entrance.during(replaying), inside_a_network(replaying):
            output = original(*args, **kwargs)
        made = replaying.made
        del replaying
        if has_ghost(output) or any(one() is not None for one in made):
            raise Refusal("something that replay does not compute comes out of the network, or is kept for later")
        return output

    def _ticket(self, ghost: Ghost) -> Ticket | None:
        """Give the ticket of a ghost that nothing has worked on."""
        if ghost.ticket is not None or ghost.cell is None:
            return ghost.ticket
        ticket, version = self._read.get(ghost.cell, (None, None))
        return ticket if versions_of([ghost.cell.real(READ_AGAIN)])[0] == version else None

    def _read_again(
        self, carrier: Ghost, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[dict[int, Tensor], tuple[Any, ...], dict[str, Any]]:
        """Put what it stands for in the place of the only ghost among the arguments; from then on it is that."""
        cell, ticket = carrier.cell, carrier.ticket
        if cell is None:
            raise Refusal("something works on the samples before they reach the network")
        # So that what the network does to it, its loop sees; laid out as its loop has done.
        real = cell.real(READ_AGAIN)
        if ticket is not None:
            self._read[cell] = (ticket, versions_of([real])[0])
        args, kwargs = tree_map(lambda leaf: real if leaf is carrier else leaf, (args, kwargs))
        return leaves_of(args, kwargs), args, kwargs

    def _tape(self, count: int, ghosts: Mapping[int, Ghost]) -> Tape:
        """Give the tape of passes with as many samples, which lie in memory in the same way, at the same place."""
        key = (count, *((place, ghost.stride(), ghost.device) for place, ghost in ghosts.items()))
        if key not in self._tapes and len(self._tapes) >= _MOST_TAPES:
            self._tapes.clear()
        return self._tapes.setdefault(key, Tape())

    def _check_beside(self, leaves: Mapping[int, Tensor], ticket: Ticket) -> None:
        """See that real arguments, on which what is stored depends too, are still those of the samples."""
        for place in self.frontier.beside - {self.carrier}:
            kept = ticket.source.kept(replace(ticket, leaf=self._inputs.leaves[place]))
            if place not in leaves or not same_numbers(leaves[place], kept.to(leaves[place].device)):
                raise Refusal("something works on a part of the samples before it reaches the network")


def _is_read(one: Any) -> bool:
    """Whether something is a ghost whose tensor is there."""
    return isinstance(one, Ghost) and one.cell is not None and one.cell.filled


class _Following:
    """Lets a flow watch real samples."""

    def __init__(self, flow: Flow, model: nn.Module) -> None:
        self._flow, self._model = flow, model
        self.call = flow.call

    def enter(self, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._flow.enter(leaves_of(args, kwargs))
        output = original(*args, **kwargs)
        self._flow.leave(output, [attributes(one, private=True) for one in self._model.modules()])
        return output


class _Keeping:
    """Keeps what the network gave."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run
        self.output: Any = None

    def enter(self, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.output = self._run(original, args, kwargs)
        return self.output

    def call(self, name: str, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return original(*args, **kwargs)
