"""The record of an ablation while its runs are made: what is planned, what is there already, and what came of it."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from frostline.ablation.lock import LOCK_FILE
from frostline.ablation.question import Question
from frostline.errors import RunError, RunFailure
from frostline.recipe import Recipe
from frostline.record import (
    ABLATION_FILE,
    RECORD_FILE,
    RUNS,
    AblationRecord,
    ArmRecord,
    Json,
    PlannedRun,
    read_ablation,
    write_json,
)
from frostline.training import machine, timed, versions


@dataclass(kw_only=True)
class Book:
    """The record of an ablation while its runs are made.

    Attributes:
        folder: where it is.
        recipe: what all runs have in common, as plain data.
        arms: what is compared, those of earlier questions first.
        runs: of all of them.
        recipes: of the runs that this question needs, by their names.
        token: which only this ablation has.
        recording: what was said of the pass that was made for all.
        seconds: by part.
    """

    folder: Path
    recipe: Json
    arms: list[ArmRecord]
    runs: list[PlannedRun]
    recipes: dict[str, Recipe]
    started: str
    token: str
    recording: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def opened(cls, question: Question, folder: Path) -> "Book":
        """Plan the runs of a question, and see which are made already.

        Raises:
            RunError: something else is in the folder, or an ablation of another recipe.
        """
        before, recipe = _before(question, folder), question.recipe.model_dump(mode="json")
        book = cls(
            folder=folder,
            recipe=recipe,
            arms=[] if before is None else list(before.arms),
            runs=[] if before is None else list(before.runs),
            recipes={},
            started=datetime.now(UTC).isoformat(timespec="seconds") if before is None else before.started,
            token=(before.token if before is not None else "") or uuid4().hex,
            recording=() if before is None else before.recording,
            seconds={} if before is None else dict(before.seconds),
        )
        book._add(question)
        return book

    def _add(self, question: Question) -> None:
        known = {arm.name: arm for arm in self.arms}
        for arm in question.arms:
            written = ArmRecord(name=arm.name, changes=arm.every, over=arm.over, is_baseline=arm.is_baseline)
            if known.setdefault(arm.name, written) != written:
                raise RunError(
                    f"ablation {self.folder}",
                    found=f"{arm.name} is there and changes something else ({', '.join(known[arm.name].changes)})",
                    do="choose another folder with --out",
                )
        self.arms = list(known.values())
        planned = {run.name: run for run in self.runs}
        # Seed after seed, so that what is there at any moment compares all arms.
        for seed in question.seeds:
            for arm in question.arms:
                name = question.name_of(arm, seed)
                self.recipes[name] = question.recipe_of(arm, seed)
                run = planned.setdefault(name, PlannedRun(name=name, arm=arm.name, seed=seed))
                if (run.arm, run.seed) != (arm.name, seed):
                    raise RunError(
                        f"ablation {self.folder}",
                        found=f"{name} is there as a run of {run.arm} with seed {run.seed}",
                        do="choose another folder with --out",
                    )
        # What is gone is to be made again.
        self.runs = [
            run if run.status != "finished" or (self.folder / RUNS / run.name / RECORD_FILE).is_file() else _anew(run)
            for run in planned.values()
        ]

    @property
    def missing(self) -> list[PlannedRun]:
        """The runs that this question needs and that are not finished."""
        return [run for run in self.runs if run.name in self.recipes and run.status != "finished"]

    def put(self, run: PlannedRun) -> None:
        """Note how a run ended and what it took, and write it down.

        Raises:
            RunFailure: it cannot be written.
        """
        self.seconds["runs"] = self.seconds.get("runs", 0.0) + run.seconds
        self.runs = [run if one.name == run.name else one for one in self.runs]
        self.write()

    def timed(self, part: str) -> AbstractContextManager[None]:
        """Count the seconds of a block under a part's name."""
        return timed(self.seconds, part)

    def begin(self) -> None:
        """Write the record before the first run.

        Raises:
            RunError: it cannot be written.
        """
        try:
            self._write()
        except OSError as error:
            raise RunError(
                f"ablation {self.folder}", found=f"it cannot be written ({error.strerror})", do="choose another folder"
            ) from None

    def write(self) -> None:
        """Write the record as it stands, while runs are made.

        Raises:
            RunFailure: it cannot be written.
        """
        try:
            self._write()
        except OSError as error:
            raise RunFailure(
                f"ablation {self.folder}",
                found=f"{ABLATION_FILE} cannot be written any more ({error.strerror})",
                do="make room, or see to it, and begin again: runs that are finished stay",
            ) from None

    def _write(self) -> None:
        record = AblationRecord(
            name=self.folder.name,
            recipe=self.recipe,
            arms=tuple(self.arms),
            runs=tuple(self.runs),
            started=self.started,
            recording=self.recording,
            seconds=self.seconds,
            versions=versions(),
            machine=machine(),
            token=self.token,
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / ABLATION_FILE, record.to_json())


def _anew(run: PlannedRun) -> PlannedRun:
    return PlannedRun(name=run.name, arm=run.arm, seed=run.seed)


def _before(question: Question, folder: Path) -> AblationRecord | None:
    """Give the record that is in a folder already; None: there is nothing.

    Raises:
        RunError: something else is there, or an ablation of another recipe.
    """
    if (folder / ABLATION_FILE).is_file():
        before, recipe = read_ablation(folder), question.recipe.model_dump(mode="json")
        changed = [key for key in recipe if before.recipe.get(key) != recipe[key]]
        if changed:
            raise RunError(
                f"ablation {folder}",
                found=f"one of another recipe is there: {', '.join(changed)} differ",
                do="choose another folder with --out",
            )
        return before
    # A kill may have left the record half written, or nothing but the lock.
    ours = (f".{ABLATION_FILE}.", LOCK_FILE)
    if folder.exists() and (not folder.is_dir() or any(not path.name.startswith(ours) for path in folder.iterdir())):
        raise RunError(f"ablation {folder}", found="something is there already", do="choose another folder with --out")
    return None
