"""How the arms trained: the validation metric and loss of every epoch, the mean over the seeds of each arm."""

from collections.abc import Callable
from statistics import mean

from frostline.record import EpochRecord
from frostline.report.arms import ArmResult, Arms
from frostline.report.chart import Chart
from frostline.report.epoch_chart import Line, epoch_chart
from frostline.report.numbers import loss, share
from frostline.report.overlay import in_order, others

Value = Callable[[EpochRecord], float | None]


def arm_charts(arms: Arms) -> tuple[Chart, ...]:
    """Draw the metric and the loss of validation; nothing where nothing was validated."""
    metric = next((one.metric for one in arms.results), "loss")
    charts = [
        None
        if metric == "loss"
        else _chart(
            arms, f"Validation {metric.replace('_', ' ')}", lambda epoch: epoch.metrics.get(metric), share, 1.0
        ),
        _chart(arms, "Validation loss", lambda epoch: epoch.val_loss, loss, 0.0),
    ]
    return tuple(chart for chart in charts if chart is not None)


def _chart(arms: Arms, title: str, value: Value, say: Callable[[float | None], str], anchor: float) -> Chart | None:
    longest = max((len(record.epochs) for one in arms.results for record in one.runs.values()), default=0)
    lines = [
        Line(
            name=one.arm.name,
            look=look.colour,
            values=_mean_by_epoch(one, value, longest),
            dashed=look.dashed,
            faint=look.faint,
        )
        for one, look in in_order(arms)
    ]
    return epoch_chart(title, range(1, longest + 1), lines, anchor=anchor, say=say, others=others(arms))


def _mean_by_epoch(result: ArmResult, value: Value, length: int) -> tuple[float | None, ...]:
    """Give the mean over the seeds as far as all of them came: past it, a run that has ended would make a step."""
    every = [[value(epoch) for epoch in record.epochs] for record in result.runs.values()]
    means: list[float | None] = []
    for at_once in zip(*every, strict=False):
        known = [one for one in at_once if one is not None]
        means.append(mean(known) if at_once and len(known) == len(at_once) else None)
    return (*means, *[None] * (length - len(means)))
