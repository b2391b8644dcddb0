"""Answer a question: record what its runs have in common, make those that are missing, and draw what came of them."""

from collections.abc import Callable
from pathlib import Path

from frostline.ablation.book import Book
from frostline.ablation.making import make_runs
from frostline.ablation.question import Question
from frostline.ablation.recording import record_together
from frostline.errors import UserError
from frostline.processes import is_one_of_several
from frostline.recipe import Common
from frostline.record import RUNS, AblationRecord, PlannedRun, read_ablation
from frostline.report import write_report
from frostline.training import Display, Silent

# What one run came to, how many have ended, and of how many: for whoever waits.
Tell = Callable[[PlannedRun, int, int], None]


def ablate(
    question: Question,
    *,
    out: Path | str,
    jobs: int = 1,
    show: Display | None = None,
    tell: Tell | None = None,
) -> AblationRecord:
    """Make every run that a question needs and that is not there yet.

    What the runs hold is computed once for all of them, before the first. Killed at any moment and begun again, it
    makes only what is missing, and goes on with the run that was interrupted. A run that fails is kept with its reason,
    and does not stop the others; begun again, it is tried again.

    Args:
        question: the recipe, what is compared, and the seeds.
        out: the folder; it is made, and must hold nothing, or an ablation of the same recipe, to which runs are added.
        jobs: how many runs are made at once, each in a process of its own; with 1 they are made in this one.
        show: where the progress of the recording goes.
        tell: told of each run that has ended, how many have, and of how many.

    Returns:
        The record, as `ablation.json` in the folder has it.

    Raises:
        RunError: the folder holds something else, or cannot be written.
        UserError: several processes were started for it.
    """
    if is_one_of_several():
        raise UserError(
            "ablate",
            found="one of several processes that a launcher started",
            do="start it alone; --jobs makes several runs at once",
        )
    folder = Path(out)
    book = Book.opened(question, folder)
    book.write()
    missing, common = book.missing, Common()
    show = show or Silent()
    if len(missing) > 1:
        with book.timed("recording"):
            try:
                recipes = [book.recipes[run.name] for run in missing]
                book.recording = record_together(recipes, show=show, common=common)
            finally:
                show.close()
        book.write()
    done = len(book.recipes) - len(missing)
    with book.timed("runs"):
        for run in make_runs(missing, recipes=book.recipes, folder=folder / RUNS, jobs=jobs, common=common):
            done += 1
            book.put(run)
            if tell is not None:
                tell(run, done, len(book.recipes))
    book.write()
    write_report(folder)
    return read_ablation(folder)
