"""How much every stage would be moved by training: the norm of its gradient beside that of its weights.

Lee, Chen, Tajwar, Kumar, Yao, Liang and Finn, Surgical Fine-Tuning Improves Adaptation to Distribution Shifts, ICLR
2023: the relative gradient norm of Auto-RGN.
"""

import time
from dataclasses import dataclass

import torch

from frostline.data import Samples
from frostline.recipe import Assembly
from frostline.selection import HEAD, call
from frostline.tasks import moved, scores
from frostline.training import evaluating

# A gradient of so many samples has the length that more of them would show.
MOST_SAMPLES = 256


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """Gradients of the whole network, from its start.

    Attributes:
        relative: by stage in front of the head, ‖gradient‖ / ‖weights‖, over the largest of them.
        step_seconds: of forward and backward of one sample through everything.
    """

    relative: dict[str, float]
    step_seconds: float


def relative_gradients(assembly: Assembly, samples: Samples, *, device: torch.device) -> Gradients:
    """Take the gradient of the loss of the network as it begins, with its fresh head, in eval mode.

    How the head was drawn stretches all stages alike; so they are given over the largest.

    Args:
        assembly: network, outline and task.
        samples: of the training set, a few hundred.
        device: where the network is.
    """
    model, task = assembly.model, assembly.task
    before = {parameter: parameter.requires_grad for parameter in model.parameters()}
    by_stage = {
        stage.name: [model.get_parameter(name) for layer in stage.layers for name in layer.parameters]
        for stage in assembly.outline
        if stage.name != HEAD
    }
    seconds, first = 0.0, True
    try:
        model.requires_grad_(True)
        with evaluating(model):
            for inputs, labels, places_N in task.loader(samples):
                placed = (moved(inputs, device), labels.to(device), places_N)
                begun = time.perf_counter()
                loss = task.cost(scores(call(model, placed[0])), placed, task.beside(placed))
                torch.autograd.backward(loss * len(places_N))
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                if first and len(samples) > len(places_N):
                    first = False  # what is made once is no part of what a step takes
                    continue
                seconds += time.perf_counter() - begun
        timed = max(len(samples) - (0 if first else task.batch_size), 1)
        found = {
            name: _norm([one.grad for one in own if one.grad is not None]) / norm
            for name, own in by_stage.items()
            if (norm := _norm([one.detach() for one in own]))
        }
    finally:
        model.zero_grad(set_to_none=True)
        for parameter, asked in before.items():
            parameter.requires_grad_(asked)
    largest = max(found.values(), default=0.0)
    return Gradients(
        relative={name: value / largest if largest else 0.0 for name, value in found.items()},
        step_seconds=seconds / timed,
    )


def _norm(tensors: list[torch.Tensor]) -> float:
    return float(sum((one.double() ** 2).sum().item() for one in tensors) ** 0.5)
