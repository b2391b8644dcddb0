"""A teacher in a run: held, its scores computed once as a prefix is, and proven when the run is over."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from frostline.data import each_part
from frostline.freezing import PlanHandle, freeze, verify
from frostline.record import Proof
from frostline.replaying import replay
from frostline.selection import call
from frostline.tasks import Batch, Teacher, moved, scores
from frostline.training.replays import ReplaySettings
from frostline.training.runtime import Runtime

# It computes beside a student, whose memory it must leave.
TO_PROVE = 2


class Held(nn.Module):
    """A teacher whose one trained part is a factor behind it, so that it is held, replayed and proven as all are."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__()
        self.network = teacher
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """Give the teacher's scores."""
        return scores(self.network(*inputs, **named)) * self.factor


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """A teacher that is held, until `close`.

    Attributes:
        teacher: with its scores of every sample, where they are kept.
        lines: what is to be said of how they came about.
    """

    teacher: Teacher
    lines: tuple[str, ...]
    _handle: PlanHandle

    def close(self) -> Proof:
        """Prove that the teacher was held all the while, on a few samples, and lift its plan."""
        handle = self._handle
        task = replace(self.teacher.task, batch_size=min(self.teacher.task.batch_size, TO_PROVE), workers=0)

        def loss(network: nn.Module, batch: Batch) -> Tensor:
            device = next(network.parameters()).device
            return scores(call(network, moved(batch[0], device))).square().mean()

        batches = list(islice(task.loader(self.teacher.samples), 1))
        try:
            return verify(handle, batches=batches, loss=loss)
        finally:
            handle.lift()


def hold_teacher(
    teacher: Teacher,
    *,
    runtime: Runtime,
    stores: ReplaySettings | None,
    show: Callable[[int, int], None] = lambda done, count: None,
    say: Callable[[str], None] = lambda line: None,
) -> Teaching:
    """Hold a teacher, and compute its scores of every sample once.

    They are stored as what is frozen is: under a key of all that they depend on, so that the next run with this teacher
    and these samples looks them up.

    Args:
        teacher: on any device, placed on the runtime's.
        runtime: where to compute.
        stores: where scores are stored; None: they are computed anew for each batch.
        show: told how many samples are recorded, and of how many.
        say: told what that costs.
    """
    network = runtime.place(Held(teacher.network))
    example = moved(teacher.task.spec.example(), runtime.device)
    handle = freeze(network, match=["network"], example_input=example)
    if stores is None and not teacher.shares_input:
        # Another input: each sample would be read once more for every batch.
        known = teacher.with_stored(teacher.scores_of(teacher.samples).cpu())
        line = f"teacher: computed {len(teacher.samples):,} samples once, kept in memory"
        return Teaching(teacher=known, lines=(line,), _handle=handle)
    if stores is None:
        return Teaching(teacher=teacher, lines=("teacher: computed for each batch",), _handle=handle)
    lines: list[str] = []

    def told(line: str) -> None:
        line = line.replace("replay:", "teacher:", 1)
        if line not in lines:
            lines.append(line)
            say(line)

    def replayed(_: str, part: Any) -> Any:
        found = replay(
            handle,
            part,
            dir=stores.dir,
            budget=stores.budget,
            dtype=stores.dtype,
            insist=True,
            show=show,
            say=told,
        )
        for line in found.lines:
            told(line)
        return found

    loader = runtime.loader(each_part(teacher.task.loader(teacher.samples), replayed))
    places, parts = [], []
    with torch.no_grad():
        for inputs, _, places_N in loader:
            parts.append(call(network, inputs).float().cpu())
            places.append(places_N.cpu())
    stored_NK = torch.cat(parts)[torch.cat(places).argsort()]
    return Teaching(teacher=teacher.with_stored(stored_NK), lines=tuple(lines), _handle=handle)
