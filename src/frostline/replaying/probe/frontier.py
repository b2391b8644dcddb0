"""The frontier: where frozen computation ends; found by a suspicious probe of real samples."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from frostline.replaying.keeping import flat
from frostline.replaying.probe.cut import Cut, Room, earlier, latest, leaves_something
from frostline.replaying.probe.flow import Flow, Seen
from frostline.replaying.probe.passes import run_pass
from frostline.replaying.probe.steps import Steps
from frostline.replaying.probe.watched import Watched
from frostline.replaying.refusal import Refusal
from frostline.replaying.samples.feed import Feed
from frostline.replaying.slots import Layout, Shape, Slot, alike, find_layout, listed, same_numbers

# Two samples are enough to see them influence each other, and a third to see where they lie.
FEW, MORE = 2, 3
# A layer that is dropped one time in ten hides in a single draw. Where nothing is seen to draw, one more is enough: on
# the CPU, whose generators are watched.
TRAIN_DRAWS, STILL_DRAWS = 3, 2


@dataclass(frozen=True)
class Frontier:
    """Where frozen computation ends in one network under one plan.

    Attributes:
        calls: what is replaced: module and number of its outermost call → the structure of what it gives.
        layouts: of every tensor that these calls give.
        live: the slots that cross into something trained, in the order in which they are computed, with the number of
            the call among all calls of the module.
        steps_seen: what these calls, and the operations between them, are given.
        inputs: which of the network's tensor arguments may be ghosts.
        needed: those that must be real, because something trained or the network's own code works on them.
        beside: those of them that the stored slots depend on, too.
        depends: live slot → names of the held tensors and modules that it is computed from.
        constants: what does not depend on the batch, by slot.
        steps: names of the modules that are run as one step, whatever happens inside of them.
        again: names of held modules, and of others without tensors, that are computed in every step.
        latest: what would be stored if there were room for it.
    """

    calls: dict[tuple[str, int], Shape]
    steps_seen: Steps
    layouts: dict[Slot, Layout]
    live: dict[Slot, int]
    inputs: frozenset[int]
    needed: frozenset[int]
    beside: frozenset[int]
    depends: dict[Slot, frozenset[str]]
    constants: dict[Slot, Tensor]
    steps: frozenset[str]
    again: frozenset[str]
    latest: tuple[Slot, ...]

    @cached_property
    def stored(self) -> tuple[Slot, ...]:
        """The live slots of which every sample has its own."""
        return tuple(slot for slot in self.live if self.layouts[slot].dim is not None)

    @cached_property
    def slots(self) -> dict[tuple[str, int], list[Slot]]:
        """The tensors that each call gives."""
        found: dict[tuple[str, int], list[Slot]] = {key: [] for key in self.calls}
        for slot in self.layouts:
            key = slot.module, slot.call
            # A tensor that is given twice is that of the first place.
            if not slot.then and key in found and self.calls[key].same[slot.leaf] == slot.leaf:
                found[key].append(slot)
        return found

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample in all stored slots, in the types that the network computes in."""
        return sum(self.layouts[slot].sample_bytes for slot in self.stored)

    def __str__(self) -> str:
        return listed(self.stored)


def find_frontier(
    watched: Watched,
    feed: Feed,
    samples: Sequence[Any],
    *,
    run: Callable[[Flow, Any], None],
    known: Frontier | None = None,
    room: Room | None = None,
) -> tuple[Frontier, Seen, Seen]:
    """Probe a network with real samples and find its frontier.

    Args:
        watched: the network, its stand-ins installed.
        feed: puts samples together and runs the network.
        samples: four real ones, of different content.
        run: runs the network on a batch and lets a flow watch it.
        known: what was found for the same plan before; then only the values are looked at.
        room: in the store: where all samples have none, the frontier may be earlier; None: for all.

    Returns:
        The frontier, and what was seen of the first samples in eval and in train mode.

    Raises:
        Refusal: replaying this network would not be exact; the reason is in it.
    """
    if watched.in_train_mode is not None:
        raise Refusal(f"{watched.in_train_mode} is held and in train mode: what it gives is another in every step")
    if watched.generators:
        raise Refusal(f"{watched.generators[0]} draws random numbers, and may decide what runs")
    if not watched.held:
        raise Refusal("no whole module is held")

    def batch(*places: int) -> Callable[[], Any]:
        return lambda: feed.batch([samples[place] for place in places])

    first = batch(*range(FEW))
    if known is not None:
        return _again(watched, first, run=run, known=known)
    while True:
        # In train mode first: it shows which buffers move.
        draws = _draws(watched, first, run=run, seen_to_draw=feed.device.type == "cpu")
        in_eval = run_pass(watched, first, count=FEW, run=run, train=False)
        asleep = {name for name, _ in draws[0].calls} - {name for name, _ in in_eval.calls}
        if not asleep:
            break
        # Auxiliary heads, which run in train mode alone: computed in every step.
        watched.skip({inner for name in asleep for inner, _ in watched.modules[name].named_modules(prefix=name)})
    more = batch(MORE - 1, *range(FEW))
    larger = run_pass(watched, more, count=MORE, run=run, train=False)
    known_steps = Steps.of(in_eval.steps, larger.steps, handed_out=())
    if any(known_steps.find(step) is None for step in draws[0].steps):
        # Something is done in train mode alone, such as what leads to an auxiliary head.
        larger.steps += run_pass(watched, more, count=MORE, run=run, train=True).steps
    company = run_pass(watched, batch(0, MORE), count=FEW, run=run, train=False)
    probe = _Probe(draws, in_eval=in_eval, larger=larger, company=company, modules=watched.modules)
    return probe.frontier(watched.steps, free=watched.free, room=room), probe.in_eval, draws[0]


def _draws(
    watched: Watched, batch: Callable[[], Any], *, run: Callable[[Flow, Any], None], seen_to_draw: bool
) -> list[Seen]:
    """Run a batch in train mode several times, with other random numbers each time.

    Args:
        watched: the network.
        batch: of `FEW` samples.
        run: as for `find_frontier`.
        seen_to_draw: whether drawing is noticed where it happens.

    Raises:
        Refusal: what is held gives something else each time.
    """
    draws: list[Seen] = []
    for draw in range(TRAIN_DRAWS):
        draws.append(run_pass(watched, batch, count=FEW, run=run, train=True, draw=draw))
        if draw:
            _check_same(draws[0], draws[draw])
            draws[draw].let_go()
        if draw + 1 >= STILL_DRAWS and seen_to_draw and not any(seen.drew for seen in draws):
            break
    return draws


def _again(
    watched: Watched, batch: Callable[[], Any], *, run: Callable[[Flow, Any], None], known: Frontier
) -> tuple[Frontier, Seen, Seen]:
    """See that a network still runs as it did when its frontier was found."""
    watched.skip((watched.held | watched.free) - known.steps)
    in_train, in_eval = (run_pass(watched, batch, count=FEW, run=run, train=train) for train in (True, False))
    if any(not seen.knows(slot) for seen in (in_train, in_eval) for slot in known.live):
        raise Refusal("the network runs in another way than when it was probed")
    for step in (*in_train.steps, *in_eval.steps):
        if known.steps_seen.find(step) is None:
            raise Refusal(f"{step.name} gets other things than when the network was probed")
    return known, in_eval, in_train


class _Probe:
    """What several passes saw, put together.

    Args:
        draws: of two samples, in train mode; what calls gave in them is the same.
        in_eval: of the same two.
        larger: of a third and these, in eval mode: each in another place.
        company: of the first beside another one, in eval mode.
        modules: of the network, by name.
    """

    def __init__(
        self,
        draws: Sequence[Seen],
        *,
        in_eval: Seen,
        larger: Seen,
        company: Seen,
        modules: Mapping[str, nn.Module],
    ) -> None:
        self.draws, self.in_eval, self.larger, self.company = draws, in_eval, larger, company
        self._same_batch = (in_eval, *draws)
        self._modules = modules

    def frontier(self, steps: frozenset[str], *, free: frozenset[str], room: Room | None) -> Frontier:
        """Choose what to store, and see that every sample has its own.

        Args:
            steps: names of the modules that were run as one step.
            free: those of them that have no tensors.
            room: in the store; None: for all.

        Raises:
            Refusal: replaying would not be exact.
        """
        calls, in_eval = self.in_eval.calls, self.in_eval
        if not calls or not any(seen.live for seen in self._same_batch):
            raise Refusal("nothing that is held is computed before what is trained")
        needed = _needed_inputs(self._same_batch)
        _check_same(in_eval, self.draws[0])
        _check_same_calls(in_eval, self.larger)
        if odd := [key for key, call in calls.items() if call.shape != self.larger.calls[key].shape]:
            raise Refusal(f"{odd[0][0]} gives another structure for another batch")
        slots = [Slot(*key, leaf) for key, call in calls.items() for leaf in call.values]
        layouts = {slot: _layout(slot, in_eval.value(slot), self.larger.value(slot)) for slot in slots}
        live = self._live()
        last = latest(in_eval, live, free=free)
        chosen = last if room is None else self._fitting(last, live, layouts, free=free, room=room)
        for one in {last, chosen}:
            layouts |= self._made_layouts(one)
        if all(layouts[slot].dim is None for slot in chosen.stored):
            raise Refusal("what is held gives nothing that is a sample's own")
        _check_apart(in_eval, self.company, self.larger, layouts)
        depends = {slot: _depends(slot, in_eval) for slot in chosen.stored}
        read = {slot.leaf for seen in self._same_batch for slot in seen.reads if slot.call == 0}
        return Frontier(
            calls={key: call.shape for key, call in calls.items() if key not in chosen.again},
            steps_seen=Steps.of(
                [step for seen in self._same_batch for step in seen.steps],
                self.larger.steps,
                handed_out=[*chosen.stored, *(slot for slot in slots if (slot.module, slot.call) in chosen.again)],
            ),
            layouts=layouts,
            live={slot: calls[slot.module, slot.call].nested for slot in chosen.stored},
            inputs=frozenset(),
            needed=needed,
            beside=needed & {one.leaf for found in depends.values() for one in found if isinstance(one, Slot)} | read,
            depends={slot: frozenset(one for one in found if isinstance(one, str)) for slot, found in depends.items()},
            constants={slot: in_eval.value(slot) for slot in chosen.stored if layouts[slot].dim is None},
            steps=steps,
            again=frozenset(name for name, _ in chosen.again),
            latest=tuple(slot for slot in last.stored if layouts[slot].dim is not None),
        )

    def _live(self) -> set[Slot]:
        """Name what has to be had; what is made of a slot in train mode alone is made of it in every step.

        Raises:
            Refusal: a module gives it that runs in train mode alone.
        """
        live = {slot for seen in self._same_batch for slot in seen.live | set(seen.reads) if slot.call > 0}
        if any(not self.in_eval.knows(slot.root) for slot in live):
            raise Refusal("what is trained depends on held modules that run in train mode alone")
        return {next(one for one in reversed(slot.line) if self.in_eval.knows(one)) for slot in live}

    def _fitting(
        self, last: Cut, live: set[Slot], layouts: Mapping[Slot, Layout], *, free: frozenset[str], room: Room
    ) -> Cut:
        """Give the cut that saves most time: an earlier one where what is stored is smaller and has room."""

        def share(one: Cut) -> float:
            try:
                return room.share({**layouts, **self._made_layouts(one)}[slot] for slot in one.stored)
            except Refusal:  # what is made there is no sample's own
                return 0.0

        def saves(one: Cut) -> float:
            # The pass that came last: what the first one makes ready is there.
            seconds = (call.seconds for key, call in self.company.calls.items() if key not in one.again)
            return share(one) * sum(seconds)

        if share(last) == 1:
            return last
        # What one of them writes by the way, another that is computed again may read.
        leaving = {key for key in self.in_eval.calls if leaves_something(self._modules[key[0]])}
        fitting = [
            one
            for one in earlier(self.in_eval, live, free=free)
            if one.stored and share(one) == 1 and leaving.isdisjoint(self.in_eval.calls.keys() - one.again)
        ]
        return max([last, *fitting], key=saves)

    def _made_layouts(self, chosen: Cut) -> dict[Slot, Layout]:
        return {slot: self._made_layout(slot) for slot in chosen.stored if slot.then}

    def _made_layout(self, slot: Slot) -> Layout:
        others = [seen.made[slot].value for seen in self.draws if slot in seen.made]
        if not all(same_numbers(self.in_eval.made[slot].value, other) for other in others):
            raise Refusal(f"what {slot} gives is another in every step, or in train mode")
        if slot not in self.larger.made or slot not in self.company.made:
            raise Refusal(f"{slot} is not there for every batch")
        layout = _layout(slot, self.in_eval.value(slot), self.larger.value(slot))
        if layout.dim is None:
            raise Refusal(f"{slot} is made of the whole batch")
        return layout


def _layout(slot: Slot, small: Tensor, large: Tensor) -> Layout:
    try:
        return find_layout(small, large, small_count=FEW, large_count=MORE)
    except Refusal as refusal:
        raise Refusal(f"{slot}: {refusal.reason}") from None


def _needed_inputs(passes: Iterable[Seen]) -> frozenset[int]:
    """Say which arguments must be real: masks that trained layers use, texts whose padding is looked at.

    Raises:
        Refusal: it is the samples themselves: numbers, of which every one would have to be read again.
    """
    needed = set()
    for seen in passes:
        for slot in sorted({*seen.live, *seen.reads}):
            if slot.call == 0:
                if seen.inputs[slot.leaf].is_floating_point():
                    how = f"the network's code reads values of it ({seen.reads[slot]})" if slot in seen.reads else ""
                    raise Refusal(how or "something trained works on the network's input itself")
                needed.add(slot.leaf)
    return frozenset(needed)


def _check_same(ours: Seen, theirs: Seen) -> None:
    """Refuse where held modules give something else in train mode, or in another draw."""
    _check_same_calls(ours, theirs)
    for key, call in ours.calls.items():
        for leaf, tensor in call.values.items():
            if not same_numbers(tensor, theirs.calls[key].values[leaf]):
                raise Refusal(f"what the held {key[0]} gives is another in every step, or in train mode")


def _check_same_calls(ours: Seen, theirs: Seen) -> None:
    odd = sorted(ours.calls.keys() ^ theirs.calls.keys())
    if odd:
        raise Refusal(f"the held {odd[0][0]} runs in some steps and not in others")


def _check_apart(ours: Seen, company: Seen, larger: Seen, layouts: dict[Slot, Layout]) -> None:
    """Refuse where what a sample gives depends on the samples beside it."""
    _check_same_calls(ours, company)
    for slot, layout in layouts.items():
        one, other, more = (seen.value(slot) for seen in (ours, company, larger))
        if layout.dim is None:
            if not (torch.equal(one, other) and torch.equal(one, more)):
                raise Refusal(f"the samples of a batch influence each other in {slot}")
            continue
        rows, beside, among = (layout.rows(tensor) for tensor in (one, other, more))
        # The same place in a batch of the same size: the same arithmetic, so the same bits.
        if not same_numbers(rows[0], beside[0]) or not alike(rows, among[-FEW:]):
            raise Refusal(f"the samples of a batch influence each other in {slot}")


def _depends(slot: Slot, seen: Seen) -> frozenset[Slot | str]:
    """Name all that a slot is computed from: held tensors and modules, and what the network is given."""
    found: set[Slot | str] = set()
    waiting, done = [slot], set()
    while waiting:
        one = waiting.pop()
        if one in done:
            continue
        done.add(one)
        if one.call == 0 and not one.then:
            found.add(one)
        elif one.then:
            waiting.append(seen.made[one].parent)
            found |= seen.made[one].origins
        else:
            for origin in seen.calls[one.module, one.call].origins:
                if isinstance(origin, Slot):
                    waiting.append(origin)
                else:
                    found.add(origin)
    return frozenset(found)


def leaves_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[int, Tensor]:
    """Give the tensors of a network's arguments by place."""
    return {place: leaf for place, leaf in enumerate(flat((args, kwargs))) if isinstance(leaf, Tensor)}
