"""A teacher: a finished network that says of each training sample how likely it finds each class.

It is given whole batches alone, and one that is not is filled up, as where replay records: sums are rounded in another
way for a batch of another size, and a student that trains all it has from scratch makes much of that in a few steps. So
scores that are stored are those that would be computed, to the bit where a row's sums do not depend on the others.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frostline.data import named_parts
from frostline.data.samples import Samples
from frostline.selection import call
from frostline.tasks.task import Batch, Inputs, Task, moved, scores


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
            return self._of_whole(inputs, len(places_N), rows=min(rows, len(self.samples)))
        return self.scores_of(self.samples.take(places_N.cpu().numpy()))

    @torch.no_grad()
    def scores_of(self, samples: Samples) -> Tensor:
        """Give the teacher's scores N × K of samples as they are, in their order."""
        device = next(self.network.parameters()).device
        places, found = [], []
        for _, part in named_parts(self.task.loader(samples)):
            rows = 0
            for inputs, _, places_N in part:
                rows = rows or len(places_N)  # the first is whole, or all there is
                places.append(places_N)
                found.append(self._of_whole(moved(inputs, device), len(places_N), rows=rows))
        return torch.cat(found)[torch.cat(places).argsort().to(device)]

    def _of_whole(self, inputs: Inputs, count: int, *, rows: int) -> Tensor:
        """Give the scores of what may be a part of a batch, computed as a whole one is."""
        return scores(call(self.network, _filled(inputs, count, rows=rows))).float()[:count]

    def soft_loss(self, logits_NK: Tensor, taught_NK: Tensor) -> Tensor:
        """Say how far a student is from its teacher: T² · KL(teacher ‖ student) of softened scores, for each sample.

        Args:
            logits_NK: of the student.
            taught_NK: of the teacher.
        """
        soft, taught = (F.log_softmax(one.float() / self.temperature, dim=1) for one in (logits_NK, taught_NK))
        return self.temperature**2 * F.kl_div(soft, taught, reduction="none", log_target=True).sum(1)


def _filled(inputs: Inputs, count: int, *, rows: int) -> Inputs:
    """Put the first row of what a network is given behind the others, until there are so many rows."""
    if count >= rows:
        return inputs
    order = torch.arange(rows)
    order[count:] = 0
    if isinstance(inputs, Tensor):
        return inputs[order.to(inputs.device)]
    return {name: tensor[order.to(tensor.device)] for name, tensor in inputs.items()}
