"""Judging: a network run over samples, in eval mode and without gradients."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from frostline.data import Samples
from frostline.record import Evaluation, Predictions
from frostline.selection import call
from frostline.tasks import Batch, Loader, Rows, Task, scores
from frostline.training.runtime import Runtime


def evaluate(
    model: nn.Module,
    samples: Samples,
    *,
    task: Task,
    runtime: Runtime,
    split: str,
    loader: Loader | None = None,
) -> tuple[Evaluation, Predictions | None]:
    """Judge a network on samples, in eval mode and without gradients.

    Args:
        model: the network, on the runtime's device; its mode is left as it was.
        samples: what to judge it on.
        task: loss and metrics.
        runtime: where to compute; in the network's own type, or under autocast where it is wrapped.
        split: what the samples are, for the record (`val`, `test`).
        loader: gives them, such as one that looks up what is frozen; None: the task's.

    Returns:
        How good it is, and what it said of each sample; None where samples have no classes.
    """
    given = task.loader(samples, share=runtime.share()) if loader is None else loader
    rows, places_N = judge(model, runtime.loader(given), task=task, runtime=runtime)
    judged = task.evaluation(rows, places_N, samples=samples, split=split)
    return judged, task.predictions(rows, places_N, samples=samples, split=split)


@torch.no_grad()
def judge(model: nn.Module, loader: Iterable[Batch], *, task: Task, runtime: Runtime) -> tuple[Rows, Tensor]:
    """Run a network over batches in eval mode, and keep of each what the task measures by.

    Returns:
        Rows, and the places N of their samples, of all processes; in the order of the samples where there are several.
    """
    batches, parts = iter(loader), []
    with evaluating(model):
        # Each is read by all before one of them runs: under DDP and FSDP a forward waits for the others'.
        while (batch := runtime.together(lambda: next(batches, None))) is not None:
            parts.append((*task.judged(scores(call(model, batch[0])), batch), batch[2].cpu()))
    every = runtime.gathered(joined(parts))
    *rows, places_N = every[0] if len(every) == 1 else joined(every)
    if len(every) == 1:
        return tuple(rows), places_N
    # Each once: where a batch has fewer samples than there are processes, some of them have one of another's.
    first = torch.from_numpy(np.unique(places_N.numpy(), return_index=True)[1])
    return tuple(one[first] for one in rows), places_N[first]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a network in eval mode for a block; every module gets back the mode that it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def joined(parts: Sequence[Rows]) -> Rows:
    """Put rows of several batches together, in their order."""
    return tuple(torch.cat(same) for same in zip(*parts, strict=True))
