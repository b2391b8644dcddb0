"""What a run gathers while it goes: of it its record is made, and what it needs to go on after a kill."""

import dataclasses
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frostline.backbones import code_digest
from frostline.recipe.assembly import Assembly
from frostline.recipe.interrupted import FORMAT, Interrupted, data_of
from frostline.record import EpochRecord, Evaluation, Json, PhaseRecord, Proof, RunRecord, Skipped, StageOutline
from frostline.training import Best, State, machine, peak_rss_mb, timed, versions


@dataclass(kw_only=True)
class Journal:
    """What a run gathers while it goes; `record` makes the run's record of it at any moment."""

    assembly: Assembly
    out: Path
    started: str
    begun: float
    processes: int = 1
    shards: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    epochs: list[EpochRecord] = field(default_factory=list)
    phases: list[PhaseRecord] = field(default_factory=list)
    proofs: list[Proof] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    proof: Proof | None = None
    digests: dict[str, dict[str, str]] = field(default_factory=dict)
    since: str = "the run"
    pretraining: Json = field(default_factory=dict)
    teacher: Json = field(default_factory=dict)
    inference_seconds: float | None = None
    data: dict[str, Any] = field(init=False)
    code: str = field(init=False)

    def __post_init__(self) -> None:
        # Now: they may change while it runs.
        self.data, self.code = data_of(self.assembly), code_digest(self.assembly.recipe.model.name)

    def timed(self, part: str) -> AbstractContextManager[None]:
        """Count the seconds of a block under a part's name."""
        return timed(self.seconds, part)

    def state(self, best: Best, phase: int, inner: State, *, begun: bool = False) -> State:
        """Give all that a run needs to go on, beside the weights.

        Args:
            best: the best epoch so far.
            phase: the one that runs, from 1.
            inner: where it is, or with what it begins.
            begun: whether it has begun.
        """
        words = {
            "format": FORMAT,
            "recipe": self.assembly.recipe.model_dump(mode="json"),
            "processes": [self.processes, self.shards],
            "phase": phase,
            "begun": begun,
            "data": self.data,
            "code": self.code,
            "phase_state": inner.words,
            "best": dataclasses.asdict(best),
            "epochs": [dataclasses.asdict(one) for one in self.epochs],
            "phases": [dataclasses.asdict(one) for one in self.phases],
            "proofs": [dataclasses.asdict(one) for one in self.proofs],
            "remarks": self.remarks,
            "seconds": self.seconds,
            "total_seconds": time.perf_counter() - self.begun,
            "started": self.started,
            "start_digests": self.digests["start"],
            "beside_digests": self.digests.get("beside", {}),
            "since": self.since,
        }
        return State(tensors=inner.tensors, words=words)

    def go_on(self, interrupted: Interrupted) -> None:
        """Take up what an interrupted run had gathered."""
        self.epochs.extend(interrupted.epochs)
        self.phases.extend(interrupted.phases)
        self.proofs.extend(interrupted.proofs)
        self.remarks.extend([*interrupted.gathered, *interrupted.remarks])
        self.started = interrupted.started
        self.begun -= interrupted.total_seconds
        for part, seconds in interrupted.seconds.items():
            self.seconds[part] = self.seconds.get(part, 0.0) + seconds
        self.since = interrupted.since if interrupted.same else "the run was resumed"
        if interrupted.same:
            self.digests["start"] = interrupted.start_digests
            self.digests["beside"] = interrupted.beside_digests

    def record(self, best: Best, *, failure: str | None = None) -> RunRecord:
        """Make the record of what has happened so far."""
        assembly = self.assembly
        last = self.epochs[-1] if self.epochs else None
        by = f"validation {best.metric}" if best.value is not None else "last epoch"
        return RunRecord(
            name=self.out.name,
            recipe=assembly.recipe.model_dump(mode="json"),
            network=assembly.recipe.model.name,
            classes=assembly.task.classes,
            samples={part: len(samples) for part, samples in assembly.data.by_name().items()},
            outline=tuple(
                StageOutline(
                    name=stage.name,
                    parameters=assembly.outline.numel_of(stage),
                    layers=tuple(layer.name for layer in stage.layers),
                )
                for stage in assembly.outline
            ),
            phases=tuple(self.phases),
            epochs=tuple(self.epochs),
            best={
                "epoch": best.epoch or (last.epoch if last else 0),
                "phase": best.phase or (last.phase if last else 0),
                "metrics": best.metrics,
                "by": by,
            },
            evaluations=tuple(self.evaluations),
            seconds={"total": time.perf_counter() - self.begun, **self.seconds},
            peak_rss_mb=peak_rss_mb(),
            parameters={
                "total": assembly.outline.numel,
                "trained": max(plan.numel(held=False) for plan in assembly.plans),
                "held": min(plan.numel(held=True) for plan in assembly.plans),
                "phases": [
                    {"trained": plan.numel(held=False), "held": plan.numel(held=True)} for plan in assembly.plans
                ],
            },
            proof=self.proof.to_json() if self.proof is not None else None,
            versions=versions(),
            machine={**machine(), "processes": self.processes},
            started=self.started,
            digests=self.digests,
            augmentation=assembly.task.changes,
            input=assembly.task.given,
            code=self.code,
            pretraining=self.pretraining,
            teacher=self.teacher,
            inference_seconds=self.inference_seconds,
            skipped=tuple(Skipped(name=fault.name, reason=fault.reason) for fault in assembly.skipped),
            warnings=(*assembly.warnings, *self.remarks),
            status="finished" if failure is None else "failed",
            failure=failure,
        )
