"""The teacher of a recipe: a finished run that knows these classes; held while its student learns, and proven so."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.backbones import code_digest
from frostline.data import Samples
from frostline.errors import NetworkError, ProofError, RunError, UserError, first_of
from frostline.freezing import across, combined, digests
from frostline.lora import merged
from frostline.recipe.schema import Recipe
from frostline.record import Json
from frostline.selection import undisturbed
from frostline.tasks import Classification, Task, Teacher
from frostline.training import Display, ReplaySettings, Runtime, hold_teacher

if TYPE_CHECKING:
    from frostline.recipe.trained import Trained

CLASSES_NAMED = 12


def with_teacher(task: Task, recipe: Recipe, train: Samples) -> tuple[Task, list[str]]:
    """Give a recipe's task its teacher, and say what a person should be told of it.

    Args:
        task: of the student.
        recipe: what was asked; without `distill` the task is given back.
        train: the training samples.

    Raises:
        RunError: no finished run there, or one that knows other classes, or looks at other samples.
        UserError: samples are changed at random, and the teacher takes another input.
    """
    asked = recipe.distill
    if asked is None or not isinstance(task, Classification):
        return task, []
    from frostline.recipe.trained import load_run  # which builds networks, as an assembly does

    run, what = load_run(Path(asked.teacher)), f"distill.teacher: {asked.teacher}"
    if run.record.status != "finished":
        raise RunError(what, found="the run has not come to its end", do="go on with it, or name another")
    if run.recipe.task != recipe.task:
        raise RunError(what, found=f"it learned {run.recipe.task}", do=f"name a run of `task: {recipe.task}`")
    if run.classes != task.classes:
        named = [first_of(names, most=CLASSES_NAMED) for names in (run.classes, task.classes)]
        raise RunError(what, found=f"it knows {named[0]}, wanted {named[1]}", do="name a run with these classes")
    shares_input = run.spec == task.spec
    if task.changes and not shares_input:
        raise UserError(
            what,
            found="images are changed anew in every epoch, and the teacher takes another input than its student "
            f"({run.spec}, and {task.spec})",
            do="write `augment: none`, or the teacher's data.size and data.normalize",
        )
    try:
        network = merged(run.model)
    except NetworkError:  # adapters that cannot be merged are held as they are
        network = run.model
    given: dict[str, Any] = {
        "batch_size": min(run.recipe.batch_size, recipe.batch_size),
        "workers": recipe.data.workers,
    }
    teacher = Teacher(
        name=str(run.run),
        digest=combined({**digests(network, network.state_dict()), "code": code_digest(run.recipe.model.name)}),
        network=network,
        task=replace(run.task, **given),
        samples=train,
        shares_input=shares_input,
        temperature=asked.temperature,
        alpha=asked.alpha,
    )
    return replace(task, teacher=teacher), [f"{what}: {line}" for line in (*run.cautions, *_of_split(run, recipe))]


def _of_split(run: "Trained", recipe: Recipe) -> Iterator[str]:
    """Say where a teacher may have learned from what its student is judged on."""
    here, there = (
        (one.data.train, one.data.val, one.data.test, one.data.per_class, one.data_seed) for one in (recipe, run.recipe)
    )
    if Path(here[0]).absolute() == Path(there[0]).absolute() and here != there:
        yield "it learned from another split of the same samples, and may know those that its student is judged on"


@contextmanager
def taught(
    task: Task, *, runtime: Runtime, stores: ReplaySettings | None, show: Display, notes: Json
) -> Iterator[Task]:
    """Hold the teacher of a task while its student learns, with its scores of every sample, and prove that it was held.

    Args:
        task: of the student; without a teacher it is given as it is.
        runtime: where to compute.
        stores: where its scores are stored; None: they are computed for each batch.
        show: told what they cost.
        notes: for the record; filled in at the end.

    Yields:
        The task whose teacher has its scores.

    Raises:
        ProofError: the teacher was not held.
    """
    if not isinstance(task, Classification) or task.teacher is None:
        yield task
        return
    teacher = task.teacher
    runtime.place(teacher.network)
    # The student draws the same random numbers whether its teacher is stored or computed.
    with undisturbed(teacher.network):
        teaching = hold_teacher(
            teacher, runtime=runtime, stores=None if task.never_replayed else stores, show=show.recorded, say=show.say
        )
    notes |= {
        "run": teacher.name,
        "sha256": teacher.digest,
        "temperature": teacher.temperature,
        "alpha": teacher.alpha,
        "scores": list(teaching.lines),
        "proof": None,
    }
    yield replace(task, teacher=teaching.teacher)
    with undisturbed(teacher.network):
        proof = across(runtime.gathered(teaching.close()))
    notes["proof"] = {"ok": proof.ok, "line": proof.line}
    failing = next((claim for claim in proof.claims if claim.status == "fails"), None)
    if failing is not None:
        broken = ProofError(
            f"teacher {teacher.name}",
            found=f"{failing.name}: it fails ({failing.evidence['summary']})",
            do="do not trust this run",
            proof=proof,
        )
        runtime.agree(broken)
