"""A network under a plan whose prefix is recorded by hand and replayed from memory, beside the same one computed."""

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset, default_collate

import frostline
from frostline.replaying.ghosts.ghost import READ_AGAIN, Ticket
from frostline.replaying.keeping import tensors_of
from frostline.replaying.probe.capture import capture
from frostline.replaying.probe.cut import Room
from frostline.replaying.refusal import Refusal
from frostline.replaying.replayer import Replayer
from frostline.replaying.samples.feed import Feed, default_forward, with_ghosts
from frostline.replaying.slots import Slot


def images(count: int = 7, *, channels: int = 3, side: int = 8) -> Tensor:
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(0))


class Trial:
    """Source of its own ghosts: what the network's frozen part gives is kept in a dict, batches of three at a time."""

    def __init__(
        self,
        network: nn.Module,
        samples: Any = None,
        *,
        plan: str | None = None,
        norm: str = "eval",
        forward: Callable[[nn.Module, Any], Any] = default_forward,
        autocast: torch.dtype | None = None,
        after: Callable[[nn.Module], Any] = lambda network: None,
        room: Room | None = None,
        **selector: Any,
    ) -> None:
        samples = images() if samples is None else samples
        if isinstance(samples, Tensor):
            samples = TensorDataset(samples, torch.arange(len(samples)))
        self.network = network
        self.dataset = samples
        self.autocast = autocast
        self.collate: Callable[[list[Any]], Any] = default_collate
        self.feed = Feed(dataset=samples, collate=self.collate, forward=forward, device=torch.device("cpu"))
        example = forward_arguments(forward, self.feed.batch(self.feed.samples([0, 1])))
        plan = plan if selector or plan else "all"
        self.handle = frostline.freeze(network, plan, norm=norm, example_input=example, **selector)  # type: ignore[arg-type]
        after(network)
        self.reals = 0
        with self._context():
            self.replayer = Replayer(self.handle, self.feed, self.feed.samples([0, 1, 2, 3]), room=room)
            self.frontier = self.replayer.frontier
            self.rows: dict[Slot, list[Tensor]] = {slot: [] for slot in self.frontier.stored}
            for start in range(0, len(samples), 3):
                batch = self.feed.batch(self.feed.samples(range(start, min(start + 3, len(samples)))))
                found = capture(network, self.feed, batch, {"now": self.frontier})["now"]
                for slot, rows in self.rows.items():
                    rows.extend(self.frontier.layouts[slot].rows(found[slot]))

    def _context(self) -> Any:
        return torch.autocast("cpu", dtype=self.autocast) if self.autocast is not None else nullcontext()

    # -- a source of samples

    def real(self, ticket: Ticket, why: str) -> Tensor:
        self.reals += why != READ_AGAIN
        found = [tensors_of(self.dataset[entry])[ticket.leaf] for entry in ticket.entries]
        return torch.stack(found) if ticket.batched else found[0]

    def kept(self, ticket: Ticket) -> Tensor:
        found = [tensors_of(self.dataset[entry])[ticket.leaf] for entry in ticket.entries]
        return torch.stack(found) if ticket.batched else found[0]

    def fetch(self, entries: Sequence[int]) -> Mapping[Slot, Tensor]:
        return {
            slot: self.frontier.layouts[slot].whole(torch.stack([rows[entry] for entry in entries]))
            for slot, rows in self.rows.items()
        }

    # -- batches

    def ghosts(self, entries: Sequence[int]) -> Any:
        leaves = self.replayer.leaves
        return self.feed.batch(
            [with_ghosts(self.dataset[entry], entry, leaves=leaves, source=self) for entry in entries]
        )

    def computed(self, entries: Sequence[int]) -> Any:
        return self.feed.batch(self.feed.samples(entries))

    def outputs(self, entries: Sequence[int], *, train: bool = True, seed: int = 5) -> tuple[Any, Any]:
        """Replay a batch, and compute it, from the same random numbers and buffers."""
        self.network.train(train)
        buffers = {name: buffer.clone() for name, buffer in self.network.named_buffers()}
        found = []
        for batch in (self.ghosts(entries), self.computed(entries)):
            _seed(seed)
            for name, buffer in self.network.named_buffers():
                buffer.data.copy_(buffers[name])
            with self._context():
                found.append(self.feed.forward(self.network, batch))
            found.append({name: buffer.clone() for name, buffer in self.network.named_buffers()})
            found.append((torch.rand(1).item(), random.random(), float(numpy.random.rand())))
        replayed, buffers_replayed, after_replayed, computed, buffers_computed, after_computed = found
        assert after_replayed == after_computed, "the generators stand elsewhere"
        for name, buffer in buffers_computed.items():
            torch.testing.assert_close(buffers_replayed[name], buffer, equal_nan=True)
        return replayed, computed

    def assert_exact(self) -> "Trial":
        """Whole batches as recorded to the bit; shuffled, ragged and single ones within rounding; twice."""
        for train in (True, False):
            for entries in ([0, 1, 2], [5, 2, 6, 0], [3, 1], [4], [0, 1, 2]):
                before = self.replayer.replayed
                replayed, computed = (tensors_in(output) for output in self.outputs(entries, train=train))
                assert self.replayer.refused is None, self.replayer.refused
                assert self.replayer.replayed == before + 1
                assert len(replayed) == len(computed) > 0
                for ours, theirs in zip(replayed, computed, strict=True):
                    if entries == [0, 1, 2]:
                        assert torch.equal(ours, theirs) or bool(ours.isnan().any())
                    tolerance = 1e-5 if ours.dtype in (torch.float32, torch.float64) else 2e-2
                    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True)
        return self

    def assert_falls_back(self, reason: str, entries: Sequence[int] = (0, 1, 2)) -> None:
        """The values are right, and replay is off because of that."""
        replayed, computed = (tensors_in(output) for output in self.outputs(entries))
        assert reason in (self.replayer.refused or ""), self.replayer.refused
        for ours, theirs in zip(replayed, computed, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


def refusal(network: nn.Module, samples: Any = None, **options: Any) -> str:
    """Give the reason for which a network is not replayed; the network is as it was."""
    forwards = [module.forward for module in network.modules()]
    try:
        trial = Trial(network, samples, **options)
    except Refusal as found:
        network.train()
        assert forwards == [module.forward for module in network.modules()]
        return found.reason
    raise AssertionError(f"replayed: {trial.frontier}")


def tensors_in(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output.detach()]
    if hasattr(output, "__dict__") and not isinstance(output, Mapping):
        output = vars(output)
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, (list, tuple)) else ()
    return [tensor for part in parts for tensor in tensors_in(part)]


def forward_arguments(forward: Callable[[nn.Module, Any], Any], batch: Any) -> Any:
    """Say what the network is called with."""
    caught: list[Any] = []

    class Catch(nn.Module):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            caught.append(kwargs or (args[0] if len(args) == 1 else args))
            raise InterruptedError

    try:
        forward(Catch(), batch)
    except InterruptedError:
        return caught[0]
    raise AssertionError("the network is not called")


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    numpy.random.seed(seed)
