"""What the two arms on Lightning share: the trainer, and a callback that tells the clock of epochs."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from arm import Clock, Job
from workload import Run


class Laps(Callback):
    """Tells the clock of every epoch."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Tell it."""
        self.clock.epoch()


def trainer(job: Job, run: Run, *, callbacks: list[Any]) -> Any:
    """Make a trainer for a run that writes no log and no checkpoint, which would only cost it time."""
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=sum(phase.epochs for phase in run.phases),
        precision="32-true" if job.precision == "fp32" else "bf16-mixed",
        callbacks=[*callbacks, Laps(job.clock)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=job.folder,
    )
