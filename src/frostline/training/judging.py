"""Judging: a network run over samples, in eval mode and without gradients."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from frostline.data import Samples
from frostline.record import Evaluation
from frostline.tasks import Batch, ImageTask, scores, worst_mistakes
from frostline.training.runtime import Runtime


def evaluate(model: nn.Module, samples: Samples, *, task: ImageTask, runtime: Runtime, split: str) -> Evaluation:
    """Judge a network on samples, in eval mode and without gradients.

    Args:
        model: the network, on the runtime's device; its mode is left as it was.
        samples: what to judge it on.
        task: loss and metrics.
        runtime: device and precision.
        split: what the samples are, for the record (`val`, `test`).
    """
    logits_NK, labels_N, places_N = predict(model, runtime.loader(task.loader(samples)), runtime=runtime)
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
        Logits N × K in float32, labels N and places N, of all processes, on the CPU.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        parts = [
            runtime.gather((scores(model(images_NCHW)).float(), labels_N, places_N))
            for images_NCHW, labels_N, places_N in loader
        ]
    finally:
        for module, training in modes.items():
            module.training = training
    logits, labels, places = zip(*parts, strict=True)
    return torch.cat(logits).cpu(), torch.cat(labels).cpu(), torch.cat(places).cpu()
