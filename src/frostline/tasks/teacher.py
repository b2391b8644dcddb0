"""A teacher: a finished network that says of each training sample how likely it finds each class.

It is given whole batches alone, and one that is not is filled up: a network's sums are rounded in another way for a
batch of another size, and a student that trains all it has from scratch makes much of that in a few steps. So scores
that are stored are those that would be computed, to the bit wherever a row's sums do not depend on the other rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset

from frostline.data import each_part
from frostline.data.samples import Samples
from frostline.selection import call
from frostline.tasks.task import Batch, Inputs, Loader, Task, moved, scores


@dataclass(frozen=True, kw_only=True, eq=False)
class Teacher:
    """A network that another one learns from, beside the labels (Hinton et al. 2015, arXiv:1503.02531).

    Attributes:
        name: what it is called.
        digest: SHA-256 of its weights.
        network: held, in eval mode.
        task: how it is given samples, which need not be how its student is.
        samples: those that are trained on.
        shares_input: it takes what its student is given, changes and all; else it is given the samples as they are.
        temperature: what scores of both are divided by.
        alpha: the share of the labels in the loss; the rest is the teacher's.
        stored: its scores N × K of every sample, by their places; None: they are computed of each batch.
    """

    name: str
    digest: str
    network: nn.Module
    task: Task
    samples: Samples
    shares_input: bool
    temperature: float
    alpha: float
    stored: Tensor | None = None

    def with_stored(self, scores_NK: Tensor) -> Self:
        """Give the same with its scores of every sample, which are looked up from then on."""
        return replace(self, stored=scores_NK)

    @torch.no_grad()
    def scores(self, batch: Batch, *, rows: int) -> Tensor:
        """Give the teacher's scores N × K of a training batch.

        Args:
            batch: what its student is given.
            rows: samples of a whole batch.
        """
        inputs, _, places_N = batch
        if self.stored is not None:
            return self.stored[places_N.to(self.stored.device)]
        if self.shares_input:
            whole = _filled(inputs, len(places_N), rows=rows)
            return scores(call(self.network, whole)).float()[: len(places_N)]
        return self.scores_of(self.samples.take(places_N.cpu().numpy()))

    def loader(self, samples: Samples) -> Loader:
        """Make whole batches of samples as they are: the last of each length is filled up with its first sample."""
        return each_part(self.task.loader(samples), lambda _, part: _whole_batches(part))

    @torch.no_grad()
    def scores_of(self, samples: Samples) -> Tensor:
        """Give the teacher's scores N × K of samples as they are, in their order."""
        device = next(self.network.parameters()).device
        return in_order(
            (scores(call(self.network, moved(inputs, device))).float(), places_N)
            for inputs, _, places_N in self.loader(samples)
        )

    def soft_loss(self, logits_NK: Tensor, taught_NK: Tensor) -> Tensor:
        """Say how far a student is from its teacher: T² · KL(teacher ‖ student) of softened scores, for each sample.

        Args:
            logits_NK: of the student.
            taught_NK: of the teacher.
        """
        soft, taught = (F.log_softmax(one.float() / self.temperature, dim=1) for one in (logits_NK, taught_NK))
        return self.temperature**2 * F.kl_div(soft, taught, reduction="none", log_target=True).sum(1)


def in_order(parts: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Put scores in the order of their samples, of which some are there more than once.

    Args:
        parts: scores B × K, and the places B of their samples.
    """
    scores_NK, places_N = map(torch.cat, zip(*parts, strict=True))
    found_NK = scores_NK.new_empty(int(places_N.max()) + 1, scores_NK.shape[1])
    found_NK[places_N.to(scores_NK.device)] = scores_NK
    return found_NK


def _filled(inputs: Inputs, count: int, *, rows: int) -> Inputs:
    """Put the first row of what a network is given behind the others, until there are so many rows."""
    if count >= rows:
        return inputs
    order = torch.arange(rows)
    order[count:] = 0
    if isinstance(inputs, Tensor):
        return inputs[order.to(inputs.device)]
    return {name: tensor[order.to(tensor.device)] for name, tensor in inputs.items()}


def _whole_batches(loader: DataLoader[Any]) -> DataLoader[Any]:
    """Make the same batches in the same order, and the last one as large as the others."""
    count, rows = len(loader.dataset), loader.batch_size  # type: ignore[arg-type]
    if not rows or not count % rows:
        return loader
    return DataLoader(
        Subset(loader.dataset, [*range(count), *[0] * (rows - count % rows)]),
        batch_size=rows,
        collate_fn=loader.collate_fn,
        generator=loader.generator,
        num_workers=loader.num_workers,
        persistent_workers=loader.persistent_workers,
    )
