"""What phases are asked, what they share, and what they give."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from frostline.data import Split
from frostline.optimization import OptimizerName, RateSchedule
from frostline.record import EpochRecord, Proof
from frostline.tasks import Task
from frostline.training.checkpoint import Keeper
from frostline.training.progress import Display
from frostline.training.replays import Replays
from frostline.training.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class PhaseSettings:
    """What one phase is asked to do.

    Attributes:
        title: what a person is told.
        index: of the phase, from 1.
        epochs: at most.
        lr: learning rate.
        factors: listed name of a parameter → what its rate is multiplied by; None: 1 for all.
        optimizer: by name.
        momentum, weight_decay: of the optimizer.
        schedule: the rate over the steps.
        clip_norm: to which gradients are cut, all together; None: they are not.
        accumulate: batches whose gradients make one step.
        recomputed: names of blocks whose activations are not kept but computed again in backward.
        compiles: the network is compiled for the phase.
        half: what is held has half weights while the phase is trained (AMP O2).
        average_decay: of the moving average of the weights, which is what is judged and kept; None: the weights are.
        patience: the phase ends after so many epochs without a better metric; None: never.
        seed: of the run.
    """

    title: str
    index: int
    epochs: int
    lr: float
    factors: Mapping[str, float] | None = None
    optimizer: OptimizerName = "adamw"
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: RateSchedule = field(default_factory=RateSchedule)
    clip_norm: float | None = None
    accumulate: int = 1
    recomputed: tuple[str, ...] = ()
    compiles: bool = False
    half: bool = False
    average_decay: float | None = None
    patience: int | None = None
    seed: int = 0


@dataclass
class Best:
    """The best epoch so far, over all phases: higher is better, for the loss lower."""

    metric: str
    epoch: int = 0
    phase: int = 0
    value: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    def improves(self, record: EpochRecord) -> bool:
        """Take an epoch in if it is better; one without validation never is."""
        value = record.val_loss if self.metric == "loss" else record.metrics.get(self.metric)
        if value is None or (self.value is not None and not self._is_better(value, self.value)):
            return False
        self.epoch, self.phase, self.value = record.epoch, record.phase, value
        self.metrics = dict(record.metrics)
        return True

    def put_back(self, other: "Best") -> None:
        """Be again what another one is."""
        self.epoch, self.phase, self.value, self.metrics = other.epoch, other.phase, other.value, dict(other.metrics)

    def _is_better(self, value: float, than: float) -> bool:
        return value < than if self.metric == "loss" else value > than


@dataclass(frozen=True, kw_only=True)
class Course:
    """What all phases of a run share.

    Attributes:
        task: loss and metrics.
        data: training and validation samples.
        runtime: device and precision.
        best: the best epoch so far; taken further.
        keeper: keeps the best and the last state.
        display: shows progress.
        rebuild: builds the network anew, for the proof.
        replays: makes the loaders, which look up what is frozen where that is exact and pays.
        note: told of every epoch.
        remark: told what a person should know of the run.
    """

    task: Task
    data: Split
    runtime: Runtime
    best: Best
    keeper: Keeper
    display: Display
    rebuild: Callable[[], nn.Module]
    replays: Replays
    note: Callable[[EpochRecord], None]
    remark: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class PhaseResult:
    """What a phase gives: its epochs, its proof, whether patience ended it, and what was replayed or why not.

    `optimizer` is for the phase to come, which carries on what it knows.
    """

    epochs: tuple[EpochRecord, ...]
    proof: Proof
    optimizer: torch.optim.Optimizer
    stopped_early: bool
    replay: tuple[str, ...] = ()
