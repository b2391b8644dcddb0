"""What one run leaves behind, as plain data: the record and the proof."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from frostline.errors import RunError
from frostline.record.files import RECIPE_FILE, RECORD_FILE, Json, read_json

Status = Literal["holds", "fails", "not applicable"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of the proof: its name, whether it holds, and the evidence (a `summary` and what was measured)."""

    name: str
    status: Status
    evidence: Json


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """One stage under one plan, in numbers: tensors' elements trained and held, norm layers in eval and in train."""

    stage: str
    trained: int
    held: int
    norm_eval: int
    norm_train: int


@dataclass(frozen=True, kw_only=True)
class Proof:
    """The evidence that a plan held: eight claims, a table by stage, and warnings that are no failures.

    The proof of a run with several phases has its claims from all of them, and the table of the last; `held_most`
    counts the parameters held in the phase that held most.
    """

    claims: tuple[Claim, ...]
    stages: tuple[StageRow, ...]
    warnings: tuple[str, ...] = ()
    phases: int = 1
    held_most: int = 0

    @property
    def ok(self) -> bool:
        """Whether no claim fails."""
        return all(claim.status != "fails" for claim in self.claims)

    @property
    def line(self) -> str:
        """One line that a person can quote."""
        count = {status: sum(claim.status == status for claim in self.claims) for status in ("holds", "fails")}
        held, trained = (sum(getattr(row, what) for row in self.stages) for what in ("held", "trained"))
        held_word = "the freeze held" if held or self.held_most else "nothing was frozen"
        word = held_word if self.ok else "THE FREEZE DID NOT HOLD"
        where = f" in {self.phases} phases; in the last" if self.phases > 1 else ":"
        failing = [claim.name for claim in self.claims if claim.status == "fails"]
        return (
            f"{word}{where} {held:,} parameters held, {trained:,} trained; {count['holds']} claims hold, "
            f"{count['fails']} fail{' (' + ', '.join(failing) + ')' if failing else ''}, "
            f"{len(self.claims) - count['holds'] - count['fails']} not applicable"
        )

    def to_json(self) -> Json:
        """The content of `proof.json`."""
        return {"ok": self.ok, "line": self.line, **dataclasses.asdict(self)}


@dataclass(frozen=True, kw_only=True)
class StageOutline:
    """One stage of the network as the report draws it: its name, parameters and layers."""

    name: str
    parameters: int
    layers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PhaseRecord:
    """What one phase did: the freeze as asked, its rate, and the stages that it left (numbers as in `StageRow`).

    `replay` says what was computed once and looked up from then on, or why nothing was. `rates` has the lowest and the
    highest rate of each stage in which something was trained.
    """

    index: int
    freeze: Any
    lr: float
    epochs_asked: int
    epochs_done: int
    start_from: str
    stages: tuple[StageRow, ...]
    stopped_early: bool = False
    replay: tuple[str, ...] = ()
    rates: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch: its number in the whole run (from 1), losses (mean over samples), metrics (shares of 1), seconds."""

    epoch: int
    phase: int
    train_loss: float
    lr: float
    seconds: float
    val_loss: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    train_metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A sample that a network was wrong about: its name, the two classes, and what it shows or says.

    `confidence` is how sure the network was of the wrong class, a share of 1. `picture` is a small JPEG in base64,
    `text` what a text says; either may be empty.
    """

    sample: str
    truth: str
    predicted: str
    confidence: float
    picture: str = ""
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A network judged on one set: loss, metrics, and the confusion matrix (rows: truth, columns: prediction).

    `mistakes` are those that it was surest of. Where samples have no classes, both are empty.
    """

    split: str
    samples: int
    loss: float
    metrics: dict[str, float]
    confusion: tuple[tuple[int, ...], ...]
    mistakes: tuple[Mistake, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A picture that could not be used and was left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Everything one run leaves behind.

    Losses are means over samples, metrics shares of 1, times seconds, memory mebibytes (the peak of the process).
    `status` is "finished", or "failed" with the reason in `failure`. `digests` has the SHA-256 of tensors by name:
    under `start` of what every phase held, before the first; under `beside` of buffers that were held in part; under
    `final` of the whole network as the run ended.
    `augmentation` has the random changes to training pictures with all their arguments. `input` is what the network
    was given (as in `InputSpec`), and `code` the SHA-256 of a user's own file with the network. `pretraining` says from
    which run on masked words the network came, if from one: its folder, the digest of its weights, how good it was.
    `inference_seconds` is what the whole network took for one sample, without reading it; None: it was not timed.
    """

    name: str
    recipe: Json
    network: str
    classes: tuple[str, ...]
    samples: dict[str, int]
    outline: tuple[StageOutline, ...]
    phases: tuple[PhaseRecord, ...]
    epochs: tuple[EpochRecord, ...]
    best: Json
    evaluations: tuple[Evaluation, ...]
    seconds: dict[str, float]
    peak_rss_mb: float
    parameters: Json
    proof: Json | None
    versions: dict[str, str]
    machine: dict[str, Any]
    started: str
    digests: dict[str, dict[str, str]] = field(default_factory=dict)
    augmentation: tuple[str, ...] = ()
    input: Json = field(default_factory=dict)
    code: str = ""
    pretraining: Json = field(default_factory=dict)
    teacher: Json = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    inference_seconds: float | None = None
    warnings: tuple[str, ...] = ()
    status: Literal["finished", "failed"] = "finished"
    failure: str | None = None
    schema: int = 1

    def to_json(self) -> Json:
        """The content of `record.json`."""
        return dataclasses.asdict(self)


def read_record(run: Path) -> RunRecord:
    """Read the record of a run folder.

    Raises:
        RunError: the folder or its record is not there, or the record cannot be read.
    """
    path = run / RECORD_FILE
    if not path.is_file() and (run / RECIPE_FILE).is_file():
        raise RunError(
            f"run {run}", found="a run that has not come to its end", do="go on with it: `frostline train … --resume`"
        )
    if not path.is_file():
        raise RunError(
            f"run {run}",
            found=f"no {RECORD_FILE} there" if run.is_dir() else "no such folder",
            do="name the folder that `frostline train … --out DIR` wrote",
        )
    return read_json(path, RunRecord, asked=f"run {run}", do="run the training again")
