"""Every epoch of a run in numbers."""

from frostline.record import RunRecord
from frostline.report import numbers
from frostline.report.frost import phase_numbers
from frostline.report.tables import Cell, Table, number


def epoch_table(record: RunRecord) -> Table:
    """Give a row for each epoch; the best one is marked."""
    phases = phase_numbers(record)
    names = list(dict.fromkeys(name for epoch in record.epochs for name in epoch.metrics))
    best = record.best.get("epoch")
    columns = ("epoch", "phase", "rate", "train loss", "validation loss", *names, "time")
    return Table(
        name="epochs",
        caption="Every epoch in numbers",
        headings=tuple((name, True) for name in columns),
        rows=tuple(
            (
                Cell(
                    said=f"{epoch.epoch}{' (best)' if epoch.epoch == best else ''}",
                    by=epoch.epoch,
                    best=epoch.epoch == best,
                ),
                number(phases.get(epoch.phase, epoch.phase), numbers.whole),
                *(number(value, numbers.loss) for value in (epoch.lr, epoch.train_loss, epoch.val_loss)),
                *(number(epoch.metrics.get(name), numbers.share) for name in names),
                number(epoch.seconds, numbers.duration),
            )
            for epoch in record.epochs
        ),
    )
