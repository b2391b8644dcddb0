"""What the arms of an ablation came to: from the records of their runs alone."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev

from frostline.errors import RunError
from frostline.record import (
    RUNS,
    AblationRecord,
    ArmRecord,
    PlannedRun,
    Predictions,
    RunRecord,
    read_predictions,
    read_record,
)
from frostline.report import numbers

# Of the final metric: the epoch that first has so much of it is the one with which a run has converged.
CONVERGED = 0.9


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Some numbers of one kind, one for each run."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean."""
        return mean(self.values)

    @property
    def sd(self) -> float | None:
        """Their standard deviation; None: there is one."""
        return stdev(self.values) if len(self.values) > 1 else None

    def said(self, say: numbers.Say) -> str:
        """Say mean and standard deviation, or that there is nothing."""
        if not self.values:
            return numbers.NONE
        return say(self.mean) + ("" if self.sd is None else f" ± {say(self.sd).removeprefix('+')}")


@dataclass(frozen=True)
class ArmResult:
    """One arm: what it is, and the records of its finished runs by seed.

    Attributes:
        arm: its name and changes.
        runs: by seed.
        failed: runs that came to nothing.
        split: `test` or `validation`: what `score` is measured on.
        metric: the name of what is compared.
        folders: of the runs, by seed, where they have any.
    """

    arm: ArmRecord
    runs: dict[int, RunRecord]
    failed: tuple[PlannedRun, ...]
    split: str
    metric: str
    folders: dict[int, Path] = field(default_factory=dict)

    def _spread(self, value: Callable[[RunRecord], float | None]) -> Spread:
        found = (value(record) for record in self.runs.values())
        return Spread(values=tuple(one for one in found if one is not None))

    def score_of(self, record: RunRecord) -> float | None:
        """Give the metric of one run: on the test samples, or of the best epoch on those of validation."""
        if self.split == "validation":
            epoch = next((one for one in record.epochs if one.epoch == record.best.get("epoch")), None)
            return None if epoch is None else _measured(self.metric, epoch.metrics, epoch.val_loss)
        test = next((one for one in record.evaluations if one.split == "test"), None)
        return None if test is None else _measured(self.metric, test.metrics, test.loss)

    @cached_property
    def scores(self) -> Spread:
        """The metric of every run."""
        return self._spread(self.score_of)

    @cached_property
    def converged(self) -> Spread:
        """The epoch that first had 90 % of the last one's validation metric; of a loss, nothing."""
        return self._spread(lambda record: _converged(record, self.metric))

    @cached_property
    def gap(self) -> Spread:
        """How much better the last epoch was on the samples that it trained on: the validation loss minus its own."""
        return self._spread(_gap)

    @cached_property
    def seconds(self) -> Spread:
        """What a run took."""
        return self._spread(lambda record: record.seconds.get("total"))

    @cached_property
    def memory(self) -> Spread:
        """Peak memory of the process, in MiB."""
        return self._spread(lambda record: record.peak_rss_mb)

    @cached_property
    def inference(self) -> Spread:
        """What the whole network took for one sample, in seconds."""
        return self._spread(lambda record: record.inference_seconds)

    @property
    def trained_share(self) -> float | None:
        """The share of the parameters that the phase with the most trains; None: no run is finished."""
        record = next(iter(self.runs.values()), None)
        return None if record is None else record.parameters["trained"] / record.parameters["total"]

    @property
    def trained(self) -> str:
        """That share in words."""
        return numbers.NONE if self.trained_share is None else numbers.percent(self.trained_share, 1)

    def predictions(self, seed: int) -> Predictions | None:
        """Read what the network of a run said of each sample that `score` is measured on; None: it was not kept."""
        folder = self.folders.get(seed)
        return None if folder is None else read_predictions(folder, "test" if self.split == "test" else "val")

    def beside(self, other: "ArmResult") -> Spread:
        """Give the differences of the metric from another arm's, seed by seed."""
        pairs = [
            (self.score_of(record), other.score_of(other.runs[seed]))
            for seed, record in self.runs.items()
            if seed in other.runs
        ]
        return Spread(values=tuple(ours - theirs for ours, theirs in pairs if ours is not None and theirs is not None))


@dataclass(frozen=True)
class Arms:
    """All arms of an ablation.

    Attributes:
        record: of the ablation.
        results: in the order in which they were asked.
    """

    record: AblationRecord
    results: tuple[ArmResult, ...]

    @property
    def baseline(self) -> ArmResult | None:
        """What freezes nothing, where there is one such arm."""
        found = [one for one in self.results if one.arm.is_baseline]
        return found[0] if len(found) == 1 else None

    @property
    def what(self) -> str:
        """What the arms are compared by, in words."""
        first = next(iter(self.results), None)
        return "metric" if first is None else f"{first.split} {first.metric.replace('_', ' ')}"

    @property
    def say(self) -> numbers.Say:
        """Writes a score."""
        return numbers.loss if any(one.metric == "loss" for one in self.results) else numbers.share

    def apart(self, one: ArmResult) -> Spread:
        """Give the differences of an arm from what freezes nothing and is like it in all else; none of that itself."""
        like = (other for other in self.results if other.arm.is_baseline and other.arm.over == one.arm.over)
        other = next(like, None)
        return Spread(values=()) if other is None or other is one else one.beside(other)

    @property
    def warnings(self) -> dict[str, int]:
        """What the runs warn of, and how many of them do."""
        return dict(Counter(line for one in self.results for run in one.runs.values() for line in run.warnings))

    @property
    def best(self) -> ArmResult | None:
        """The arm whose mean is best; None: no run is finished."""
        some = [one for one in self.results if one.scores.values]
        if not some:
            return None
        return (min if some[0].metric == "loss" else max)(some, key=lambda one: one.scores.mean)

    def names_of(self, result: ArmResult) -> list[str]:
        """Name the finished runs of an arm, which are their folders, too."""
        return [run.name for run in self.record.runs if run.arm == result.arm.name and run.seed in result.runs]

    def as_rows(self) -> tuple[list[str], list[list[str]]]:
        """Give a table for people: its header, and a row for each arm."""
        header = ["arm", "trained", self.what, "minus the baseline"]
        header += ["converged at epoch", "gap in loss", "seconds a run"]
        rows = [
            [
                one.arm.name,
                one.trained,
                one.scores.said(self.say),
                self.apart(one).said(numbers.signed),
                one.converged.said(numbers.whole),
                one.gap.said(numbers.signed),
                one.seconds.said(numbers.duration),
            ]
            for one in self.results
        ]
        return header, rows


def arms_of(record: AblationRecord, folder: Path) -> Arms:
    """Read what the runs of an ablation came to.

    Args:
        record: of the ablation.
        folder: where it is.
    """
    folders = {run.name: folder / RUNS / run.name for run in record.runs}
    records = {run.name: found for run in record.runs if (found := _finished(run, folders[run.name])) is not None}
    return arms_from(record, records, folders=folders)


def arms_from(record: AblationRecord, records: Mapping[str, RunRecord], *, folders: Mapping[str, Path]) -> Arms:
    """Put records together by their arms.

    Args:
        record: which runs there are, and of which arms.
        records: of those that are finished, by their names.
        folders: where they are.
    """
    metric = str(record.recipe.get("metric") or "accuracy")
    judged = {one.split for found in records.values() for one in found.evaluations}
    split = "test" if "test" in judged else "validation"
    results = []
    for arm in record.arms:
        mine = [run for run in record.runs if run.arm == arm.name]
        there = [run for run in mine if run.name in records]
        results.append(
            ArmResult(
                arm,
                {run.seed: records[run.name] for run in there},
                tuple(run for run in mine if run.status == "failed"),
                split,
                metric,
                {run.seed: folders[run.name] for run in there},
            )
        )
    return Arms(record, tuple(results))


def _finished(run: PlannedRun, folder: Path) -> RunRecord | None:
    if run.status != "finished":
        return None
    try:
        return read_record(folder)
    except RunError:
        return None  # taken away since


def _measured(metric: str, metrics: dict[str, float], loss: float | None) -> float | None:
    return loss if metric == "loss" else metrics.get(metric)


def _converged(record: RunRecord, metric: str) -> float | None:
    values = [epoch.metrics.get(metric) for epoch in record.epochs]
    if metric == "loss" or not values or values[-1] is None:
        return None
    last = values[-1]
    return next(
        (epoch.epoch for epoch, value in zip(record.epochs, values, strict=True) if (value or 0) >= CONVERGED * last),
        None,
    )


def _gap(record: RunRecord) -> float | None:
    last = record.epochs[-1] if record.epochs else None
    return None if last is None or last.val_loss is None else last.val_loss - last.train_loss
