"""Answer a question: record what its runs have in common, make those that are missing, and draw what came of them."""

from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from pathlib import Path

from frostline.ablation.book import Book
from frostline.ablation.lock import alone_in
from frostline.ablation.making import make_runs
from frostline.ablation.question import Question
from frostline.ablation.ray_cluster import reached
from frostline.ablation.recording import record_together, stores_of
from frostline.errors import UserError
from frostline.processes import is_one_of_several
from frostline.recipe import Common, Recipe
from frostline.record import RUNS, AblationRecord, PlannedRun, read_ablation
from frostline.report import write_report
from frostline.training import Display, Silent

# What one run came to, how many have ended, and of how many: for whoever waits.
Tell = Callable[[PlannedRun, int, int], None]


def ablate(
    question: Question,
    *,
    out: Path | str,
    jobs: int | None = None,
    ray: str | None = None,
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
        jobs: how many runs are made at once, each in a process of its own; with 1, as by default, they are made in
            this one. On a cluster there are as many by default as it has room for.
        ray: the address of a Ray cluster that makes the runs: `auto`, `HOST:6379`, `ray://HOST:10001`, or `local`,
            which starts one on this machine. Its machines must have this frostline, and the data where the recipe says;
            those that do not see the folder send their runs back, which are then made from their beginning each time.
        show: where the progress of the recording goes.
        tell: told of each run that has ended, how many have, and of how many.

    Returns:
        The record, as `ablation.json` in the folder has it.

    Raises:
        RunError: the folder holds something else, another ablation is at work in it, or it cannot be written.
        UserError: several processes were started for it; Ray is not installed, or no cluster at its address.
        RunFailure: the cluster was lost, or the record cannot be written any more; what is finished is kept.
    """
    if is_one_of_several():
        raise UserError(
            "ablate",
            found="one of several processes that a launcher started",
            do="start it alone; --jobs makes several runs at once",
        )
    folder = Path(out)
    missing = Book.opened(question, folder).missing
    with nullcontext() if ray is None or not missing else reached(ray) as cluster, alone_in(folder):
        book = Book.opened(question, folder)  # once more: another ablation may have ended meanwhile
        missing, common = book.missing, Common()
        book.begin()
        recipes = [book.recipes[run.name] for run in missing]
        if len(missing) > 1 and (cluster is None or all(cluster.all_see(store) for store in stores_of(recipes))):
            _record(book, recipes, show=show or Silent(), common=common)
        if cluster is None:
            runs = make_runs(missing, recipes=book.recipes, folder=folder / RUNS, jobs=jobs or 1, common=common)
        else:
            runs = cluster.make_runs(missing, recipes=book.recipes, folder=folder, token=book.token, jobs=jobs)
        with closing(runs):
            for done, run in enumerate(runs, len(book.recipes) - len(missing) + 1):
                book.put(run)
                if tell is not None:
                    tell(run, done, len(book.recipes))
        write_report(folder)
    return read_ablation(folder)


def _record(book: Book, recipes: Sequence[Recipe], *, show: Display, common: Common) -> None:
    """Record what runs have in common, and note what was said of it."""
    with book.timed("recording"):
        try:
            book.recording = record_together(recipes, show=show, common=common)
        finally:
            show.close()
    book.write()
