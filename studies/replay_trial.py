"""One trial of replay: freeze a network at one depth, compute, replay, and compare to the bit."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten
from torch.utils.data import DataLoader, Dataset

import frostline
from frostline.errors import SelectorError
from frostline.freezing import PlanHandle
from frostline.replaying import ReplayLoader
from frostline.replaying import replay as replayed
from frostline.replaying.probe.frontier import Frontier
from frostline.replaying.recording.cost import Cost
from replay_networks import Network

BATCH = 4
# The same samples in another order and other company; the last batch is ragged.
SHUFFLED = [[5, 2, 7], [0, 6, 3], [4, 1]]
CLOSE = 1e-5
EXACT, REFUSED, FAILED, ABSENT = "exact", "refused", "FAILED", "n/a"
# What refusals say where no store can be exact, because what is frozen gives something else in every step or company.
RANDOM_OR_MIXED = ("random", "drawn", "draws", "influence each other", "another in every step", "dropped")


@dataclass(frozen=True)
class Finding:
    """What came of one depth.

    Attributes:
        outcome: one of EXACT, REFUSED, FAILED and ABSENT.
        depth: how the freeze was said.
        reason: of everything but EXACT.
        frontier: what was stored.
        sample_bytes: of one sample.
        shuffled: largest difference in other batches, as a share of the largest number.
        own: the same of the network itself, computed in the one and in the other batches.
    """

    outcome: str
    depth: str
    reason: str = ""
    frontier: str = ""
    sample_bytes: int = 0
    shuffled: float = 0.0
    own: float = 0.0

    @property
    def counts(self) -> bool:
        """Whether it could have been exact."""
        return self.outcome in (EXACT, FAILED) or (self.outcome == REFUSED and not self.excused)

    @property
    def excused(self) -> bool:
        """Whether it was refused for randomness, or because samples are mixed."""
        return self.outcome == REFUSED and any(word in self.reason for word in RANDOM_OR_MIXED)

    def __str__(self) -> str:
        if self.outcome != EXACT:
            return self.outcome
        return EXACT + (f" {self.shuffled:.0e}" if self.shuffled else "")


class Samples(Dataset[Any]):
    """Samples from a list."""

    def __init__(self, samples: Sequence[Any]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, entry: int) -> Any:
        return self.samples[entry]


@dataclass
class Ran:
    """What some steps gave: the tensors of every output, gradients, and buffers afterwards."""

    outputs: list[list[Tensor]]
    gradients: dict[str, Tensor]
    buffers: dict[str, Tensor]


def prepare(network: Network) -> tuple[nn.Module, list[Any]]:
    """Build a network and its samples, so that a wrong value anywhere would show in what comes out.

    Layers that start at zero or one would hide what is in front of them: they get noise. BatchNorm gets the statistics
    of the samples, so that numbers neither vanish nor explode on the way.
    """
    samples = network.samples()
    torch.manual_seed(0)
    model = network.build()
    with torch.no_grad():
        for parameter in model.parameters():
            if bool((parameter == parameter.flatten()[0]).all()):
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
        norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0
        # Also for buffers that a network makes when it first runs.
        call(model.train(), next(iter(DataLoader(Samples(samples), batch_size=len(samples)))))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return model.eval(), samples


def call(model: nn.Module, batch: Any) -> Any:
    """Give a network a batch: a tensor, or tensors by the names of arguments."""
    return model(**batch) if isinstance(batch, Mapping) else model(batch)


def tensors_of(output: Any) -> list[Tensor]:
    """Give the tensors of an output, whatever it is made of."""
    found = []
    for leaf in tree_flatten(output)[0]:
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif hasattr(leaf, "__dict__"):
            found += tensors_of([own for _, own in sorted(vars(leaf).items())])
    return found


def steps(model: nn.Module, loader: Any, *, train: bool, buffers: Mapping[str, Tensor]) -> Ran:
    """Run every batch forwards and backwards, from the same buffers and the same random numbers.

    Raises:
        Exception: whatever the network raises.
    """
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    # By way of train mode: there networks let go what they keep in eval mode of a run before, with its graph.
    model.train().train(train)
    model.zero_grad(set_to_none=True)
    outputs = []
    for number, batch in enumerate(loader):
        torch.manual_seed(100 + number)
        found = tensors_of(call(model, batch))
        learns = [tensor for tensor in found if tensor.requires_grad]
        # In eval mode some networks keep what they make of trained parameters, and its graph, for the next batch.
        sum((tensor.abs().square().mean() for tensor in learns), torch.zeros(())).backward(retain_graph=not train)  # type: ignore[no-untyped-call]
        outputs.append([tensor.detach() for tensor in found])
    gradients = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    model.zero_grad(set_to_none=True)
    return Ran(outputs, gradients, {name: one.clone() for name, one in model.named_buffers()})


def same_bits(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two tensors are equal to the bit: NaN equals itself, and -0 is not 0."""
    if (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
        return False
    one, other = (tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (ours, theirs))
    return torch.equal(one, other)


def differ(ours: Ran, theirs: Ran) -> str:
    """Say what is not equal to the bit, or nothing."""
    for number, (one, other) in enumerate(zip(ours.outputs, theirs.outputs, strict=True)):
        if len(one) != len(other) or not all(map(same_bits, one, other)):
            return f"the output of batch {number}"
    for kind in ("gradients", "buffers"):
        one, other = getattr(ours, kind), getattr(theirs, kind)
        odd = sorted(one.keys() ^ other.keys()) or [name for name in one if not same_bits(one[name], other[name])]
        if odd:
            return f"{kind} of {odd[0]}"
    return ""


def deviation(ours: list[list[Tensor]], theirs: list[list[Tensor]]) -> float:
    """Give the largest difference of two runs as a share of the largest number of each output."""
    worst = 0.0
    for place in range(len(ours[0])):
        one, other = (torch.cat([batch[place].flatten() for batch in ran]).double() for ran in (ours, theirs))
        same = (one == other) | (one.isnan() & other.isnan())
        if not bool(same.all()):
            scale = other[other.isfinite()].abs().max().clamp_min(1e-30)
            worst = max(worst, float((one - other)[~same].abs().max() / scale))
    return worst


def by_sample(outputs: list[list[Tensor]], batches: Sequence[Sequence[int]]) -> list[list[Tensor]]:
    """Give the outputs sample by sample, in order; those whose first dimension is the batch."""
    found: dict[int, list[Tensor]] = {}
    for entries, output in zip(batches, outputs, strict=True):
        for row, entry in enumerate(entries):
            found[entry] = [tensor[row] for tensor in output if tensor.ndim and tensor.shape[0] == len(entries)]
    return [found[entry] for entry in sorted(found)]


def trial(model: nn.Module, samples: Sequence[Any], depth: str) -> Finding:
    """Freeze, compute, replay, compare.

    Args:
        model: as `prepare` gives it.
        samples: its samples.
        depth: `all`, or the name of a stage.
    """
    selector: dict[str, Any] = {} if depth == "all" else {"through": depth}
    data = Samples(samples)
    plain = DataLoader(data, batch_size=BATCH)
    try:
        handle = frostline.freeze(model, "all" if depth == "all" else None, example_input=next(iter(plain)), **selector)
    except SelectorError as error:
        return Finding(ABSENT, depth, " ".join(str(error).split()).removeprefix("freeze: "))
    start = {name: buffer.clone() for name, buffer in model.named_buffers()}
    shuffled = DataLoader(data, batch_sampler=SHUFFLED)
    try:
        computed = {train: steps(model, plain, train=train, buffers=start) for train in (False, True)}
        apart = steps(model, shuffled, train=False, buffers=start)
        with tempfile.TemporaryDirectory() as folder, _paying():
            finding = _replayed(handle, plain, shuffled, folder, computed, apart, start, depth)
        together = by_sample(computed[False].outputs, [range(4), range(4, 8)])
        own = deviation(by_sample(apart.outputs, SHUFFLED), together)
        if finding.outcome == EXACT and not _telling(together):
            return replace(finding, outcome=FAILED, reason="the network gives the same for every sample")
        if finding.outcome == EXACT and finding.shuffled > max(CLOSE, 10 * own):
            return replace(finding, outcome=FAILED, own=own, reason=f"{finding.shuffled:.0e} in other batches")
        return replace(finding, own=own)
    finally:
        handle.lift()


def _replayed(
    handle: PlanHandle,
    plain: DataLoader[Any],
    shuffled: DataLoader[Any],
    folder: str,
    computed: Mapping[bool, Ran],
    apart: Ran,
    start: Mapping[str, Tensor],
    depth: str,
) -> Finding:
    model = handle.model
    loader = replayed(handle, plain, epochs=100, dir=folder)
    for train, expected in computed.items():
        if loader.refused is not None:
            return Finding(REFUSED, depth, loader.refused)
        ran = steps(model, loader, train=train, buffers=start)
        if odd := differ(ran, expected):
            return Finding(FAILED, depth, f"{odd} in {'train' if train else 'eval'} mode is another")
    other = replayed(handle, shuffled, epochs=100, dir=folder)
    again = steps(model, other, train=False, buffers=start)
    refused = loader.refused or other.refused
    if refused is not None:
        return Finding(REFUSED, depth, refused)
    _frontier(other, samples=len(plain.dataset))  # type: ignore[arg-type]
    frontier = _frontier(loader, samples=2 * len(plain.dataset))  # type: ignore[arg-type]
    return Finding(
        EXACT,
        depth,
        frontier=str(frontier),
        sample_bytes=frontier.sample_bytes,
        shuffled=deviation(again.outputs, apart.outputs),
    )


def _frontier(loader: ReplayLoader, *, samples: int) -> Frontier:
    """Take the frontier of a loader that did replay.

    Raises:
        AssertionError: samples were computed, and nobody said so.
    """
    issue = loader._issue
    assert issue is not None, "nothing is replayed, and nobody said so"
    assert issue.tally.looked_up == samples, f"{issue.tally.looked_up} of {samples} samples were looked up"
    return issue._prefix.stored["now"].frontier


def _telling(outputs: list[list[Tensor]]) -> bool:
    """Whether samples give different numbers, at least in one output."""
    return any(not same_bits(one, other) for one, other in zip(outputs[0], outputs[1], strict=True))


@contextmanager
def _paying() -> Iterator[None]:
    """Replay also where it would not pay: eight small samples say nothing about that."""
    with mock.patch.object(Cost, "pays", property(lambda self: True)):
        yield
