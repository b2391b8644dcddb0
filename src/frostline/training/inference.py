"""How long a network takes for one sample, whole, as it would be asked in use."""

import time
from dataclasses import replace
from statistics import median

import numpy as np
import torch
from torch import nn

from frostline.data import Samples
from frostline.selection import call
from frostline.tasks import Task, moved
from frostline.training.judging import evaluating

# Half of them would do for a median; more only where they cost next to nothing.
LEAST_TIMES = 5
MOST_TIMES = 25
MOST_SECONDS = 0.2


@torch.no_grad()
def inference_seconds(model: nn.Module, samples: Samples, *, task: Task) -> float:
    """Time the forward pass of one sample in eval mode, without reading it: the median of several, after one.

    Args:
        model: the network, on its device; its mode is left as it was.
        samples: the first of them is what it is given.
        task: makes of it what the network takes.
    """
    alone = replace(task, batch_size=1, workers=0)
    inputs = moved(next(alone.inputs(samples.take(np.array([0])))), next(model.parameters()).device)
    with evaluating(model):
        call(model, inputs)
        seconds: list[float] = []
        while len(seconds) < LEAST_TIMES or (len(seconds) < MOST_TIMES and sum(seconds) < MOST_SECONDS):
            begun = time.perf_counter()
            call(model, inputs)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - begun)
    return median(seconds)
