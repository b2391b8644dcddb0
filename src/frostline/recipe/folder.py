"""A run's folder before the run begins: free, or with a run to go on with, or with one that is finished."""

from collections.abc import Collection
from pathlib import Path

from frostline.backbones import Spec, TextSpec, code_digest
from frostline.errors import RunError
from frostline.recipe.assembly import stage_names
from frostline.recipe.load import dump_recipe
from frostline.recipe.schema import Recipe
from frostline.recipe.techniques import expanded
from frostline.record import (
    PREDICTIONS,
    PRETRAINING,
    PROOF_FILE,
    RECIPE_FILE,
    RECORD_FILE,
    TOKENIZER,
    RunRecord,
    read_record,
    write_atomically,
)
from frostline.report import REPORT_FILE


def found(out: Path, recipe: Recipe, *, resume: bool, ours: Collection[str] = ()) -> RunRecord | None:
    """See what is in a run's folder: its record where there is nothing to do any more, else None.

    Args:
        out: the folder.
        recipe: of the run that is to be there.
        resume: whether it may have begun.
        ours: names of what was put there for it.

    Raises:
        RunError: something else is there, or a run that was not to be resumed, or a finished one of another recipe.
    """
    if resume and (out / RECIPE_FILE).exists():
        return _finished(out, recipe)
    check_free(out, ours=ours)
    return None


def _finished(out: Path, recipe: Recipe) -> RunRecord | None:
    """Give the record of a run that is over; None: it is not, or there is none.

    Raises:
        RunError: one with another recipe is, or with another file of the network.
    """
    record = read_record(out) if (out / RECORD_FILE).is_file() else None
    if record is None or record.status != "finished":
        return None
    now = expanded(recipe, lambda: stage_names(recipe)).model_dump(mode="json")
    changed = [key for key in now if record.recipe.get(key) != now[key]]
    if not changed and record.code and code_digest(recipe.model.name) not in ("", record.code):
        changed = ["the file of the network"]
    if changed:
        raise RunError(
            f"resume {out}",
            found=f"another run is finished there: {', '.join(changed)} differ",
            do="choose another name with --out",
        )
    return record


def forget_life_before(out: Path) -> None:
    """Take away what a run left that ended with something else: it would speak for the one that goes on now.

    Raises:
        RunError: it stays there.
    """
    said = (out / PREDICTIONS).glob("*.safetensors")
    for path in (out / RECORD_FILE, out / PROOF_FILE, out / REPORT_FILE, *said):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(
                f"run {out}", found=f"{path.name} cannot be taken away ({error.strerror})", do="choose another folder"
            ) from None


def check_free(out: Path, *, ours: Collection[str] = ()) -> None:
    """Refuse a folder that holds something already.

    Args:
        out: the folder; it need not exist.
        ours: names of what may be there.

    Raises:
        RunError: it does, or a file is in the way.
    """
    try:
        # A kill may have left one of them half written.
        half = tuple(f".{name}." for name in (RECIPE_FILE, *ours))
        taken = out.exists() and (
            not out.is_dir() or any(not path.name.startswith(half) for path in out.iterdir() if path.name not in ours)
        )
    except OSError as error:
        raise RunError(f"run {out}", found=f"{error.strerror}", do="choose another name with --out") from None
    if taken and ((out / RECIPE_FILE).exists() or (out / PRETRAINING / RECIPE_FILE).exists()):
        raise RunError(
            f"run {out}",
            found="a run of that name is there already",
            do="go on with it (`frostline train … --resume`), or choose another name with --out",
        )
    if taken:
        raise RunError(
            f"run {out}", found="something is there already", do="choose another name with --out, or move it away"
        )


def write_recipe(out: Path, recipe: Recipe, *, spec: Spec) -> None:
    """Make a run's folder, with its recipe, and with the tokenizer of a network that reads texts.

    Raises:
        RunError: it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / RECIPE_FILE, dump_recipe(recipe))
        if isinstance(spec, TextSpec):
            spec.tokenizer.save_pretrained(out / TOKENIZER)
    except OSError as error:
        raise RunError(
            f"run {out}", found=f"it cannot be written ({error.strerror})", do="choose another folder"
        ) from None
