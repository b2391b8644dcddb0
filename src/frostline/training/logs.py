"""Logs of a run, one entry an epoch: `metrics.csv` and TensorBoard."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from frostline.record import EpochRecord

CSV_FILE = "metrics.csv"
TENSORBOARD_FOLDER = "tensorboard"


class Logs:
    """Writes each epoch as it ends; what was written stays readable after a kill.

    Args:
        run: the run's folder.
        metrics: names of the validation metrics, which are the columns behind the fixed ones.
        epochs: of an interrupted run that goes on; what was written of others since is left out.
    """

    def __init__(self, run: Path, *, metrics: tuple[str, ...], epochs: Sequence[EpochRecord] = ()) -> None:
        # Here and not at the top: it takes seconds to import, and only a training needs it.
        from torch.utils.tensorboard.writer import SummaryWriter

        self._metrics = metrics
        self._file = (run / CSV_FILE).open("w", newline="", encoding="utf-8")
        self._csv = csv.writer(self._file)
        self._csv.writerow(["epoch", "phase", "lr", "train_loss", "val_loss", *metrics, "seconds"])
        for record in epochs:
            self._row(record)
        self._file.flush()
        # TensorBoard leaves out what an earlier file has from that step on.
        purge = {"purge_step": epochs[-1].epoch + 1} if epochs else {}
        self._board = SummaryWriter(str(run / TENSORBOARD_FOLDER), **purge)

    def epoch(self, record: EpochRecord) -> None:
        """Write one epoch."""
        self._row(record)
        self._file.flush()
        scalars = {"loss/train": record.train_loss, "lr": record.lr}
        scalars |= {} if record.val_loss is None else {"loss/val": record.val_loss}
        scalars |= {f"val/{name}": value for name, value in record.metrics.items()}
        scalars |= {f"train/{name}": value for name, value in record.train_metrics.items()}
        for name, value in scalars.items():
            self._board.add_scalar(name, value, record.epoch)
        self._board.flush()

    def _row(self, record: EpochRecord) -> None:
        values = [record.metrics.get(name, "") for name in self._metrics]
        val_loss = "" if record.val_loss is None else record.val_loss
        self._csv.writerow(
            [record.epoch, record.phase, record.lr, record.train_loss, val_loss, *values, record.seconds]
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        self._board.close()
