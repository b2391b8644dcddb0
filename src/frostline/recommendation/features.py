"""What every stage of a network makes of the training samples, from one pass over them.

Legend: N samples, D features, L places of a sequence.
"""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frostline.data import Samples
from frostline.errors import NetworkError
from frostline.recipe import Assembly
from frostline.selection import HEAD, call, first_tensor
from frostline.tasks import Inputs, moved
from frostline.training import evaluating

# Features are compared on so many samples at most, the same share of each class: a probe of more would tell little else
# and take longer than the pass.
MOST_SAMPLES = 2000


@dataclass(frozen=True, kw_only=True, eq=False)
class StageFeatures:
    """What one stage makes of every sample.

    Attributes:
        stage: its name.
        features_ND: averaged over places of the picture, or over the words of a text.
        seconds: of a forward pass of one sample, what this stage takes.
    """

    stage: str
    features_ND: np.ndarray
    seconds: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Recorded:
    """What one pass over training samples gave.

    Attributes:
        stages: input first; what the head is given is that of the last.
        labels_N: of the samples.
        reading_seconds: what a sample takes before the network is given it.
    """

    stages: tuple[StageFeatures, ...]
    labels_N: np.ndarray
    reading_seconds: float


def some_of(samples: Samples, *, seed: int, most: int = MOST_SAMPLES) -> Samples:
    """Take about so many samples at most, of every class the same share, and two where it has them."""
    if len(samples) <= most:
        return samples
    draw = np.random.default_rng(seed)
    labels_N = np.asarray(samples.labels)
    chosen = []
    for label in np.unique(labels_N):
        own = draw.permutation(np.flatnonzero(labels_N == label))
        chosen.append(own[: max(2, round(most * len(own) / len(samples)))])
    return samples.take(np.sort(np.concatenate(chosen)))


@torch.no_grad()
def record_features(assembly: Assembly, samples: Samples, *, device: torch.device) -> Recorded:
    """Run the network once over samples, in eval mode, and keep what every stage makes of them.

    Args:
        assembly: network, outline and task.
        samples: of the training set.
        device: where the network is.

    Raises:
        NetworkError: stages do not run one after the other, or give nothing that could be looked at.
    """
    model, watch = assembly.model, _Watch(device)
    labels: list[Tensor] = []
    reading = 0.0
    with ExitStack() as hooks, evaluating(model):
        for stage, layer in _last_layers(assembly).items():
            hooks.callback(model.get_submodule(layer).register_forward_hook(watch.after(stage)).remove)
        before = time.perf_counter()
        for inputs, batch_labels, _ in assembly.task.loader(samples):
            given = moved(inputs, device)
            reading += time.perf_counter() - before
            watch.begin(given)
            call(model, given)
            watch.end()
            labels.append(batch_labels)
            before = time.perf_counter()
    if not watch.features:
        raise NetworkError(
            f"network {assembly.recipe.model.name}",
            found="no stage gives a tensor",
            do="choose the depth yourself, or try all: frostline ablate --depths all",
        )
    for stage, parts in watch.features.items():
        if not all(bool(part.isfinite().all()) for part in parts):
            raise NetworkError(
                f"network {assembly.recipe.model.name}",
                found=f"{stage} gives what is no number",
                do="see to its weights, or to what it is given",
            )
    count = len(samples)
    return Recorded(
        stages=tuple(
            StageFeatures(stage=stage, features_ND=torch.cat(parts).numpy(), seconds=watch.seconds[stage] / count)
            for stage, parts in watch.features.items()
        ),
        labels_N=torch.cat(labels).numpy(),
        reading_seconds=reading / count,
    )


def _last_layers(assembly: Assembly) -> Mapping[str, str]:
    """Name for each stage in front of the head the layer whose output is the stage's."""
    modules = dict(assembly.model.named_modules())
    # A stage of parameters alone, such as a token that is learned, gives nothing.
    layers = {stage.name: [one.name for one in stage.layers if one.name in modules] for stage in assembly.outline}
    return {stage: own[-1] for stage, own in layers.items() if own and stage != HEAD}


class _Watch:
    """Keeps what stages give, and when.

    Args:
        device: where the network is: what it does is waited for before a clock is read.
    """

    def __init__(self, device: torch.device) -> None:
        self.features: dict[str, list[Tensor]] = {}
        self.seconds: dict[str, float] = {}
        self._device = device
        self._mask_NL: Tensor | None = None
        self._now: dict[str, Tensor] = {}
        self._at = 0.0

    def begin(self, given: Inputs) -> None:
        """Begin with a batch."""
        mask = None if isinstance(given, Tensor) else given.get("attention_mask")
        self._mask_NL, self._now, self._at = mask, {}, self._clock()

    def after(self, stage: str) -> Any:
        """Give a hook that keeps what a stage gives; of a layer that runs several times, the last."""

        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            tensor = first_tensor(output)
            if tensor is None or not tensor.is_floating_point():
                return
            now = self._clock()
            self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._at
            self._now[stage] = pooled(tensor, mask_NL=self._mask_NL).float().cpu()
            self._at = self._clock()

        return hook

    def end(self) -> None:
        """Keep what this batch gave."""
        for stage, features_ND in self._now.items():
            self.features.setdefault(stage, []).append(features_ND)

    def _clock(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def pooled(tensor: Tensor, *, mask_NL: Tensor | None = None) -> Tensor:
    """Average what a layer gives over everything but samples and features: N × D.

    Args:
        tensor: N × D × H × W, N × H × W × D (recognised by equal sides), N × L × D, or N × D.
        mask_NL: which places of a sequence are words.

    >>> pooled(torch.ones(2, 3, 4, 4)).shape, pooled(torch.ones(2, 4, 4, 3)).shape, pooled(torch.ones(2, 7, 5)).shape
    (torch.Size([2, 3]), torch.Size([2, 3]), torch.Size([2, 5]))
    """
    if tensor.ndim == 3:
        if mask_NL is not None and mask_NL.shape == tensor.shape[:2]:
            weights_NL1 = mask_NL.unsqueeze(-1).to(tensor.dtype)
            return (tensor * weights_NL1).sum(1) / weights_NL1.sum(1).clamp(min=1)
        return tensor.mean(1)
    if tensor.ndim == 4:
        last = tensor.shape[1] == tensor.shape[2] != tensor.shape[3]
        return tensor.mean((1, 2) if last else (2, 3))
    return tensor.flatten(1)
