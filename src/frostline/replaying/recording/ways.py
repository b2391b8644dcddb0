"""Ways: whether what a network's code asks of whole batches changes what it computes of a sample.

Code that leaves a mask out where nothing of a batch is padded goes another way for another batch. That may be all the
same (transformers does so, and what comes out is the same within rounding), or another value. So a batch that goes a
way of its own is computed again together with one that went another: one of them goes the other's way then, and what
comes out of it must be what came out before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from frostline.replaying.refusal import Refusal
from frostline.replaying.slots import Slot

# What a network's code found true and false, in order.
Answers = tuple[bool, ...]
# By the name of a frontier: a row of each slot for each sample.
Rows = Mapping[str, Mapping[Slot, Tensor]]

TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


@dataclass
class Ways:
    """The ways that batches went so far, each with the samples of the first batch that did."""

    _known: dict[Answers, tuple[int, ...]] = field(default_factory=dict)

    @property
    def were_asked(self) -> bool:
        """Whether the network's code asks batches anything."""
        return any(self._known)

    def settle(
        self, answers: Answers, rows: Rows, entries: Sequence[int], *, compute: Callable[[Sequence[int]], Rows]
    ) -> None:
        """See that a batch could as well have gone the way of the first.

        Args:
            answers: what the network's code found of the batch.
            rows: what it computed of it.
            entries: numbers of its samples.
            compute: gives the rows of samples that are put together.

        Raises:
            Refusal: other values came out of it.
        """
        if any(_agree(answers, other) for other in self._known):
            return
        if self._known:
            others = next(iter(self._known.values()))
            theirs = compute(others)
            # By halves, which take no more memory than a batch: what one sample decides, one of them has.
            for mine, other in zip(_halves(len(entries)), _halves(len(others)), strict=True):
                together = compute([*entries[mine], *others[other]])
                _compare(_rows(rows, mine), _rows(theirs, other), together)
        self._known[answers] = tuple(entries)


def _agree(one: Answers, other: Answers) -> bool:
    # A pass ends where all is there that is wanted, which may be sooner in one of them.
    return all(mine is theirs for mine, theirs in zip(one, other, strict=False))


def _halves(count: int) -> tuple[slice, slice]:
    half = (count + 1) // 2
    return slice(0, half), slice(count - half, count)


def _rows(rows: Rows, places: slice) -> Rows:
    return {name: {slot: tensor[places] for slot, tensor in slots.items()} for name, slots in rows.items()}


def _compare(rows: Rows, others: Rows, together: Rows) -> None:
    for name, slots in together.items():
        for slot, found in slots.items():
            apart = torch.cat([rows[name][slot], others[name][slot]])
            if difference(apart, found) > tolerance(found.dtype):
                raise Refusal(
                    f"its code asks something of whole batches, such as whether nothing is masked, and {slot} is "
                    "another for the same samples where the answer is another"
                )


def tolerance(dtype: torch.dtype) -> float:
    """Say how much of the largest magnitude is rounding."""
    return TOLERANCE.get(dtype, TOLERANCE[torch.float32])


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Give the largest difference as a share of the largest magnitude; NaN equals NaN."""
    one, other = ours.double(), theirs.double()
    same = (one == other) | (one.isnan() & other.isnan())
    if bool(same.all()):
        return 0.0
    gap = (one - other)[~same].abs().max() / other[other.isfinite()].abs().max().clamp_min(1e-12)
    return float(gap) if bool(gap.isfinite()) else float("inf")
