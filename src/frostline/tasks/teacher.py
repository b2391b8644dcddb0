"""A teacher: a finished network that says of each training sample how likely it finds each class."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frostline.data.samples import Samples
from frostline.selection import call
from frostline.tasks.task import Batch, Task, moved, scores


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
    def scores(self, batch: Batch) -> Tensor:
        """Give the teacher's scores N × K of a training batch."""
        inputs, _, places_N = batch
        if self.stored is not None:
            return self.stored[places_N.to(self.stored.device)]
        if self.shares_input:
            return scores(call(self.network, inputs)).float()
        return self.scores_of(self.samples.take(places_N.cpu().numpy()))

    @torch.no_grad()
    def scores_of(self, samples: Samples) -> Tensor:
        """Give the teacher's scores N × K of samples as they are, in their order."""
        device = next(self.network.parameters()).device
        parts = [
            (places_N, scores(call(self.network, moved(inputs, device))).float())
            for inputs, _, places_N in self.task.loader(samples)
        ]
        found_NK = torch.cat([part for _, part in parts])
        return found_NK[torch.cat([places_N for places_N, _ in parts]).argsort().to(device)]

    def soft_loss(self, logits_NK: Tensor, taught_NK: Tensor) -> Tensor:
        """Say how far a student is from its teacher: T² · KL(teacher ‖ student) of softened scores, for each sample.

        Args:
            logits_NK: of the student.
            taught_NK: of the teacher.
        """
        soft, taught = (F.log_softmax(one.float() / self.temperature, dim=1) for one in (logits_NK, taught_NK))
        return self.temperature**2 * F.kl_div(soft, taught, reduction="none", log_target=True).sum(1)
