"""What several runs said of the same samples: put side by side by the samples' names."""

from collections.abc import Sequence
from pathlib import PurePath

import numpy as np

from frostline.comparison.noise import Answers
from frostline.record import Predictions


def side_by_side(ours: Sequence[Predictions], theirs: Sequence[Predictions]) -> tuple[Answers, Answers] | str:
    """Give what the runs of two arms said of the samples that all of them were judged on.

    Args:
        ours: of one arm, a run each.
        theirs: of the other.

    Returns:
        Both, on the same samples in the same order; or why they cannot be put side by side, in words.
    """
    every = [*ours, *theirs]
    first = every[0]
    if any(set(one.classes) != set(first.classes) for one in every):
        return "they have other classes"
    names = _names(every)
    if any(len(set(own)) != len(own) for own in names):
        return "several samples have the same name"
    common = set(names[0]).intersection(*names[1:])
    if not common:
        return "they were judged on other samples"
    order = [name for name in names[0] if name in common]
    labels: list[np.ndarray] = []
    predicted: list[np.ndarray] = []
    for one, own in zip(every, names, strict=True):
        place = {name: number for number, name in enumerate(own)}
        rows = [place[name] for name in order]
        as_first = np.array([first.classes.index(name) for name in one.classes])
        labels.append(as_first[one.labels_N[rows]])
        predicted.append(as_first[one.shares_NK[rows].argmax(1)])
    if any(not np.array_equal(labels[0], other) for other in labels[1:]):
        return "samples of the same name have other classes"
    cut = len(ours)
    return (
        Answers(labels_N=labels[0], predicted_SN=np.stack(predicted[:cut])),
        Answers(labels_N=labels[0], predicted_SN=np.stack(predicted[cut:])),
    )


def _names(every: Sequence[Predictions]) -> list[tuple[str, ...]]:
    """Name the samples of each: in full, or, where nothing is common then, by folder and file."""
    full = [one.samples for one in every]
    if set(full[0]).intersection(*full[1:]):
        return full
    return [tuple("/".join(PurePath(name).parts[-2:]) for name in one.samples) for one in every]
