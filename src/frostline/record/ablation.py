"""What an ablation leaves behind: its question, and which runs answer it; what they found is in the runs' records."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from frostline.errors import RunError
from frostline.record.files import Json, read_json

ABLATION_FILE = "ablation.json"
# The folder of an ablation's runs, within its own.
RUNS = "runs"


@dataclass(frozen=True, kw_only=True)
class ArmRecord:
    """One answer that is compared: its name, what it changes in the recipe, and whether it freezes nothing.

    `over` are those of the changes that are not depths or techniques; arms with the same are compared.
    """

    name: str
    changes: tuple[str, ...]
    over: tuple[str, ...] = ()
    is_baseline: bool = False


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run of an ablation: its folder's name, the arm and the seed that it has, and how it ended.

    `status` is "planned" until it has ended. `seconds` are those of its last try, and `failure` is why it failed.
    """

    name: str
    arm: str
    seed: int
    status: Literal["planned", "finished", "failed"] = "planned"
    seconds: float = 0.0
    failure: str | None = None

    def ended(self, failure: str | None, *, seconds: float) -> "PlannedRun":
        """Give it as it ended; with no failure it finished."""
        status: Literal["finished", "failed"] = "finished" if failure is None else "failed"
        return dataclasses.replace(self, status=status, failure=failure, seconds=seconds)


@dataclass(frozen=True, kw_only=True)
class AblationRecord:
    """Many runs, one question.

    Attributes:
        name: of its folder.
        recipe: what every run has in common, as the recipe of the question.
        arms: what is compared, in the order in which it was asked.
        runs: one for each arm and seed.
        recording: what was said of the pass that computed what is frozen, once for all runs.
        seconds: of all that was done, by part: `recording`, and `runs`, which is the sum of what every try took.
        started: when it was begun, ISO 8601.
        versions, machine: as in a run's record.
        token: which only this ablation has: a machine that reads it in the folder sees the folder.
    """

    name: str
    recipe: Json
    arms: tuple[ArmRecord, ...]
    runs: tuple[PlannedRun, ...]
    started: str
    recording: tuple[str, ...] = ()
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    machine: Json = dataclasses.field(default_factory=dict)
    token: str = ""
    schema: int = 1

    @property
    def failed(self) -> tuple[PlannedRun, ...]:
        """The runs that failed."""
        return tuple(run for run in self.runs if run.status == "failed")

    def to_json(self) -> Json:
        """The content of `ablation.json`."""
        return dataclasses.asdict(self)


def read_ablation(folder: Path) -> AblationRecord:
    """Read the record of an ablation.

    Raises:
        RunError: there is none, or it cannot be read.
    """
    path = folder / ABLATION_FILE
    if not path.is_file():
        raise RunError(
            f"ablation {folder}",
            found=f"no {ABLATION_FILE} there" if folder.is_dir() else "no such folder",
            do="name the folder that `frostline ablate … --out DIR` wrote",
        )
    return read_json(path, AblationRecord, asked=f"ablation {folder}", do="choose another folder with --out")
