"""Judging: a network run over samples, in eval mode and without gradients."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from frostline.data import Samples
from frostline.record import Evaluation
from frostline.selection import call
from frostline.tasks import Batch, Classification, scores, worst_mistakes
from frostline.training.runtime import Runtime

# Logits N × K, labels N, places of the samples N.
Judged = tuple[Tensor, Tensor, Tensor]


def evaluate(model: nn.Module, samples: Samples, *, task: Classification, runtime: Runtime, split: str) -> Evaluation:
    """Judge a network on samples, in eval mode and without gradients.

    Args:
        model: the network, on the runtime's device; its mode is left as it was.
        samples: what to judge it on.
        task: loss and metrics.
        runtime: where to compute; in the network's own type, or under autocast where it is wrapped.
        split: what the samples are, for the record (`val`, `test`).
    """
    loader = runtime.loader(task.loader(samples, share=runtime.share()))
    logits_NK, labels_N, places_N = predict(model, loader, runtime=runtime)
    return Evaluation(
        split=split,
        samples=len(labels_N),
        loss=float(task.judged_loss(logits_NK, labels_N)),
        metrics=task.metrics(logits_NK, labels_N),
        confusion=task.confusion(logits_NK, labels_N),
        mistakes=worst_mistakes(samples, logits_NK, places_N),
    )


@torch.no_grad()
def predict(model: nn.Module, loader: Iterable[Batch], *, runtime: Runtime) -> tuple[Tensor, Tensor, Tensor]:
    """Run a network over batches in eval mode.

    Returns:
        Logits N × K in float32, labels N and places N, of all processes, on the CPU; in the order of the samples where
        there are several.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    batches, parts = iter(loader), []
    try:
        # Each is read by all before one of them runs: under DDP and FSDP a forward waits for the others'.
        while (batch := runtime.together(lambda: next(batches, None))) is not None:
            parts.append(_on_cpu(scores(call(model, batch[0])).float(), *batch[1:]))
    finally:
        for module, training in modes.items():
            module.training = training
    every = runtime.gathered(_joined(parts))
    if len(every) == 1:
        return every[0]
    logits_NK, labels_N, places_N = _joined(every)
    # Each once: where a batch has fewer samples than there are processes, some of them have one of another's.
    first = torch.from_numpy(np.unique(places_N.numpy(), return_index=True)[1])
    return logits_NK[first], labels_N[first], places_N[first]


def _on_cpu(logits_NK: Tensor, labels_N: Tensor, places_N: Tensor) -> Judged:
    return logits_NK.cpu(), labels_N.cpu(), places_N.cpu()


def _joined(parts: Sequence[Judged]) -> Judged:
    first, second, third = zip(*parts, strict=True)
    return torch.cat(first), torch.cat(second), torch.cat(third)
