"""What the arms of an ablation came to: from the records of their runs alone."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite
from pathlib import Path
from statistics import mean, stdev

from frostline.comparison import LEVEL, MEASURES, Difference, holm, of_samples, of_seeds, side_by_side
from frostline.errors import RunError
from frostline.record import (
    RUNS,
    AblationRecord,
    ArmRecord,
    EpochRecord,
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
            return _best(record, self.metric)
        test = next((one for one in record.evaluations if one.split == "test"), None)
        return None if test is None else _measured(self.metric, test.metrics, test.loss)

    @cached_property
    def scores(self) -> Spread:
        """The metric of every run."""
        return self._spread(self.score_of)

    @cached_property
    def best_epochs(self) -> Spread:
        """The validation metric of the best epoch of every run."""
        return self._spread(lambda record: _best(record, self.metric))

    @cached_property
    def last_epochs(self) -> Spread:
        """The validation metric of the last epoch of every run."""
        return self._spread(lambda record: _of_epoch(record.epochs[-1], self.metric) if record.epochs else None)

    @cached_property
    def inference(self) -> Spread:
        """Seconds that the whole network takes for one sample."""
        return self._spread(lambda record: record.inference_seconds)

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
        return self._spread(lambda record: record.peak_rss_mb or None)

    @property
    def trained_share(self) -> float | None:
        """The share of the parameters that the phase with the most trains; None: that is not known."""
        record = next(iter(self.runs.values()), None)
        trained, total = (None if record is None else record.parameters.get(name) for name in ("trained", "total"))
        return None if trained is None or not total else float(trained / total)

    @property
    def trained(self) -> str:
        """That share in words."""
        return numbers.NONE if self.trained_share is None else numbers.percent(self.trained_share, 1)

    def predictions(self, seed: int) -> Predictions | None:
        """Read what the network of a run said of each sample that `score` is measured on; None: it was not kept."""
        folder = self.folders.get(seed)
        return None if folder is None else read_predictions(folder, "test" if self.split == "test" else "val")

    def apart(self, other: "ArmResult") -> Difference | None:
        """Give the difference of the metric from another arm's, and how sure it is; None: nothing tells noise from it.

        Where both have the same seeds, they are compared pair by pair; else all with all.
        """
        paired = set(self.runs) == set(other.runs)
        ours, theirs = (sorted(self.runs), sorted(other.runs))
        if not ours or not theirs:
            return None
        if self.metric in MEASURES:
            said = [[arm.predictions(seed) for seed in seeds] for arm, seeds in ((self, ours), (other, theirs))]
            known = [[one for one in arm if one is not None] for arm in said]
            if known == said:
                answers = side_by_side(*known)
                if not isinstance(answers, str):
                    classes = len(known[0][0].classes)
                    return of_samples(*answers, metric=self.metric, classes=classes, paired=paired)
        scores = [
            [score for seed in seeds if (score := arm.score_of(arm.runs[seed])) is not None]
            for arm, seeds in ((self, ours), (other, theirs))
        ]
        return of_seeds(*scores, paired=paired and len(scores[0]) == len(scores[1]))


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

    @cached_property
    def differences(self) -> dict[str, Difference]:
        """What every arm is apart from the baseline that is like it in all else, by its name, where that can be told.

        The chance of each is adjusted for how many there are, by Holm's method.
        """
        found = {one.arm.name: apart for one in self.results if (apart := self._apart(one)) is not None}
        chances = holm([apart.p for apart in found.values()])
        return {name: replace(apart, p=chance) for (name, apart), chance in zip(found.items(), chances, strict=True)}

    def _apart(self, one: ArmResult) -> Difference | None:
        like = (other for other in self.results if other.arm.is_baseline and other.arm.over == one.arm.over)
        other = next(like, None)
        return None if other is None or other is one else one.apart(other)

    @property
    def noise(self) -> str:
        """Say what differences are judged by, and what of noise that leaves out."""
        bases = {apart.basis for apart in self.differences.values()}
        if not bases:
            return (
                "No difference can be told from noise: nothing is known of the samples, and there is one run of an arm."
            )
        level = f"{100 * LEVEL:.0f} %"
        told = {
            "samples and seeds": "by resampling the samples, the same for both arms, and by how the seeds differ",
            "samples": "by resampling the samples, the same for both arms; another seed may change more than they do",
            "seeds": "by how the seeds differ; what was said of each sample is not known",
        }
        how = "; ".join(told[basis] for basis in told if basis in bases)
        return (
            f"In brackets the interval of a difference at {level}, judged {how}. More than noise: by chance it is "
            f"seen in less than {100 * (1 - LEVEL):.0f} % of cases, among so many arms (Holm)."
        )

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
        header = ["arm", "trained", self.what, "minus the baseline", "more than noise"]
        header += ["converged at epoch", "gap in loss", "time of a run", "of a sample"]
        rows = [
            [
                one.arm.name,
                one.trained,
                one.scores.said(self.say),
                said_apart(self.differences.get(one.arm.name)),
                said_sure(self.differences.get(one.arm.name)),
                one.converged.said(numbers.whole),
                one.gap.said(numbers.signed),
                one.seconds.said(numbers.duration),
                numbers.duration(one.inference.mean) if one.inference.values else numbers.NONE,
            ]
            for one in self.results
        ]
        return header, rows


def said_apart(apart: Difference | None) -> str:
    """Say a difference and its interval."""
    if apart is None:
        return numbers.NONE
    return f"{numbers.signed(apart.value)} [{numbers.signed(apart.low)}, {numbers.signed(apart.high)}]"


def said_sure(apart: Difference | None) -> str:
    """Say whether a difference is more than noise."""
    if apart is None:
        return numbers.NONE
    return "yes" if apart.p < 1 - LEVEL else "no"


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
    # On what all of them can be compared.
    tested = [any(one.split == "test" for one in found.evaluations) for found in records.values()]
    split = "test" if tested and all(tested) else "validation"
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


def _of_epoch(epoch: EpochRecord, metric: str) -> float | None:
    return _measured(metric, epoch.metrics, epoch.val_loss)


def _best(record: RunRecord, metric: str) -> float | None:
    """Give the validation metric of the epoch that the run chose, or else of the best."""
    chosen = next((one for one in record.epochs if one.epoch == record.best.get("epoch")), None)
    if chosen is not None:
        return _of_epoch(chosen, metric)
    values = [value for epoch in record.epochs if (value := _of_epoch(epoch, metric)) is not None]
    return (min if metric == "loss" else max)(values, default=None)


def _converged(record: RunRecord, metric: str) -> float | None:
    values = [epoch.metrics.get(metric) for epoch in record.epochs]
    if metric == "loss" or not values or not values[-1]:
        return None
    last = values[-1]
    return next(
        (epoch.epoch for epoch, value in zip(record.epochs, values, strict=True) if (value or 0) >= CONVERGED * last),
        None,
    )


def _gap(record: RunRecord) -> float | None:
    last = record.epochs[-1] if record.epochs else None
    gap = None if last is None or last.val_loss is None else last.val_loss - last.train_loss
    return gap if gap is not None and isfinite(gap) else None
