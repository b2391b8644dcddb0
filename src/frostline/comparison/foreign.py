"""Records of runs that other trainers made: from the tables of epochs that they leave behind."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frostline.errors import RunError
from frostline.record import EpochRecord, Json, RunRecord

ULTRALYTICS_FILE = "results.csv"
# What a column of ours is called by others; each is looked for in this order, without regard to case.
USUAL = {
    "epoch": ("epoch",),
    "train_loss": ("train_loss", "train_loss_epoch", "loss", "training_loss"),
    "val_loss": ("val_loss", "valid_loss", "validation_loss", "eval_loss"),
    "seconds": ("seconds", "epoch_seconds", "epoch_time"),
    "lr": ("lr", "learning_rate"),
}
OURS = (*USUAL, "phase", "step")
# Words before the name of a metric that say on which samples it was measured.
OF_VALIDATION = ("val_", "valid_", "validation_", "eval_")
Row = Mapping[str, float]


def read_csv(path: Path, *, columns: Mapping[str, str] | None = None) -> RunRecord:
    """Read a table with a row for each epoch, such as Lightning's and frostline's `metrics.csv`.

    Args:
        path: the table. Rows of one epoch are put together, the last value of each column counts.
        columns: names of the columns, such as `{"epoch": "Epoch", "accuracy": "val_acc"}`: `epoch`, `train_loss`,
            `val_loss`, `seconds` (of an epoch), `lr`, and the metrics on validation samples by any other name. None: by
            their usual names, and whatever begins with `val_` is a metric.

    Raises:
        RunError: no such table, no such columns, or none of epochs.
    """
    rows, header = _read(path)
    named = {key: _column(path, key, columns, header) for key in USUAL}
    if named["epoch"] is None:
        raise RunError(
            f"table {path}",
            found=f"no column of epochs; it has {', '.join(header)}",
            do="say which it is: --columns epoch=NAME,accuracy=NAME",
        )
    metrics = {key: name for key, name in (columns or {}).items() if key not in USUAL}
    for name in metrics.values():
        _check_column(path, name, header)
    if columns is None:
        taken = {name for name in named.values() if name is not None}
        left = [name for name in header if name not in taken and name.lower() not in OURS]
        validation = {_bare(name): name for name in left if name.lower().startswith(OF_VALIDATION)}
        # A table without such words is ours, or one that measures nothing in training.
        metrics = validation or {name: name for name in left if not name.lower().startswith("train")}
    epochs = _by_epoch(rows, named["epoch"])
    return _record(
        path.stem if path.stem != "metrics" else path.parent.name,
        [
            EpochRecord(
                epoch=number,
                phase=1,
                train_loss=_value(row, named["train_loss"], math.nan),
                lr=_value(row, named["lr"], math.nan),
                seconds=_value(row, named["seconds"], 0.0),
                val_loss=row.get(named["val_loss"] or ""),
                metrics={key: row[name] for key, name in metrics.items() if name in row},
            )
            for number, row in epochs
        ],
    )


def read_ultralytics(folder: Path) -> RunRecord:
    """Read the folder of a run of ultralytics: its `results.csv`, and what `args.yaml` says of it.

    Losses are the sums of their parts; a metric is called as there, without what it is of (`mAP50`, `mAP50-95`),
    and the accuracy of its classifiers `accuracy`.

    Raises:
        RunError: there is no table of epochs.
    """
    path = folder / ULTRALYTICS_FILE
    rows, header = _read(path)
    if "epoch" not in header:
        raise RunError(
            f"table {path}", found=f"no column epoch; it has {', '.join(header)}", do="name the folder of a run"
        )
    epochs, before = [], 0.0
    for number, row in _by_epoch(rows, "epoch"):
        # Since the run began: of an epoch it is what was added. It begins anew where a run was resumed.
        now = row.get("time", before)
        epochs.append(
            EpochRecord(
                epoch=number,
                phase=1,
                train_loss=_summed(row, "train/"),
                lr=_value(row, "lr/pg0", math.nan),
                seconds=now - before if now >= before else now,
                val_loss=None if math.isnan(lost := _summed(row, "val/")) else lost,
                metrics={_called(name): value for name, value in row.items() if name.startswith("metrics/")},
            )
        )
        before = now
    return _record(folder.name, epochs, settings=_settings(folder / "args.yaml"))


def _record(name: str, epochs: Sequence[EpochRecord], *, settings: Json | None = None) -> RunRecord:
    settings = settings or {}
    return RunRecord(
        name=name,
        recipe={"settings": settings, "seed": settings.get("seed", 0)},
        network=str(settings.get("model", "")),
        classes=(),
        samples={},
        outline=(),
        phases=(),
        epochs=tuple(epochs),
        best={},
        evaluations=(),
        seconds={"total": sum(epoch.seconds for epoch in epochs)} if any(one.seconds for one in epochs) else {},
        peak_rss_mb=0.0,
        parameters={},
        proof=None,
        versions={},
        machine={},
        started="",
    )


def _read(path: Path) -> tuple[list[Row], list[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.reader(file)
            header = [name.strip() for name in next(table, [])]
            rows: list[Row] = [
                {name: number for name, cell in zip(header, row, strict=False) if (number := _number(cell)) is not None}
                for row in table
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else f"it cannot be read ({error})"
        raise RunError(f"table {path}", found=found, do="name a CSV file with a row for each epoch") from None
    if not any(rows):
        raise RunError(f"table {path}", found="no numbers in it", do="name a CSV file with a row for each epoch")
    return rows, header


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _by_epoch(rows: Sequence[Row], epoch: str) -> list[tuple[int, Row]]:
    """Put the rows of each epoch together, and count epochs from 1."""
    together: dict[int, dict[str, float]] = {}
    for row in rows:
        if epoch in row:
            together.setdefault(int(row[epoch]), {}).update(row)
    shift = 1 if together and min(together) == 0 else 0
    return [(number + shift, together[number]) for number in sorted(together)]


def _column(path: Path, key: str, columns: Mapping[str, str] | None, header: Sequence[str]) -> str | None:
    if columns is not None and key in columns:
        return _check_column(path, columns[key], header)
    by_lower = {name.lower(): name for name in reversed(header)}
    return next((by_lower[name] for name in USUAL[key] if name in by_lower), None)


def _check_column(path: Path, name: str, header: Sequence[str]) -> str:
    if name not in header:
        raise RunError(
            f"table {path}", found=f"no column {name}; it has {', '.join(header)}", do="name one of these in --columns"
        )
    return name


def _bare(name: str) -> str:
    """Give the name of a metric without the word that says on which samples it was measured."""
    bare = next(name[len(word) :] for word in OF_VALIDATION if name.lower().startswith(word))
    return "accuracy" if bare.lower() == "acc" else bare


def _value(row: Row, name: str | None, otherwise: float) -> float:
    return otherwise if name is None else row.get(name, otherwise)


def _summed(row: Row, before: str) -> float:
    parts = [value for name, value in row.items() if name.startswith(before) and name.endswith("loss")]
    return sum(parts) if parts else math.nan


def _called(name: str) -> str:
    bare = name.removeprefix("metrics/").partition("(")[0]
    return "accuracy" if bare == "accuracy_top1" else bare


def _settings(path: Path) -> dict[str, Any]:
    """Read what a run was asked to do; nothing where that is not there or no mapping."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        read = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError):
        return {}
    return dict(read) if isinstance(read, dict) else {}
