"""What training would take, from how long the stages of a network took in one pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from frostline.recommendation.features import Recorded
from frostline.recommendation.gradients import Gradients


@dataclass(frozen=True, kw_only=True)
class PhasePlan:
    """A phase as its cost sees it.

    Attributes:
        epochs: of it.
        held: names of the stages from the input on in which nothing is trained.
        replayed: what these compute is looked up from the second epoch on.
        views: augmented draws of each sample that are kept, where there are any.
    """

    epochs: int
    held: frozenset[str]
    replayed: bool
    views: int = 1


def predicted_seconds(phases: Sequence[PhasePlan], *, samples: int, recorded: Recorded, gradients: Gradients) -> float:
    """Predict the seconds of the steps of training: without starting, judging and proving.

    A stage costs its forward pass, and its backward pass where it, or what lies before it, is trained; the backward
    passes of all stages are to each other as the forward ones.

    Args:
        phases: one after the other.
        samples: to train on.
        recorded: how long each stage takes forward, and a sample to read.
        gradients: how long a whole step takes.
    """
    forward = {one.stage: one.seconds for one in recorded.stages}
    whole = sum(forward.values())
    backward = max(gradients.step_seconds - whole, 0.0)
    total, stored = 0.0, frozenset[str]()
    for phase in phases:
        held = _sum(forward, phase.held)
        trained = whole - held
        step = trained + (backward * trained / whole if whole else 0.0)
        frozen = recorded.reading_seconds + held
        if phase.replayed:
            # What a deeper phase before it has recorded is there already: it was recorded in the same pass.
            once = 0.0 if phase.held <= stored else frozen * phase.views
            stored |= phase.held
            total += samples * (once + phase.epochs * step)
        else:
            total += samples * phase.epochs * (frozen + step)
    return total


def _sum(forward: Mapping[str, float], stages: frozenset[str]) -> float:
    return sum(seconds for stage, seconds in forward.items() if stage in stages)
