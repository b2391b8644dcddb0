"""`pretrain`: the run on masked words that comes before a fine-tuning, as a recipe and a folder of its own."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from torch import nn

from frostline.data import Samples, Texts, counted, unlabelled
from frostline.errors import RunError, WeightsError
from frostline.recipe.assembly import assemble
from frostline.recipe.data import Gathered, gather
from frostline.recipe.folder import found
from frostline.recipe.machine import runtime_of
from frostline.recipe.masked import PRETRAINED, TEXTS, masked_recipe
from frostline.recipe.schema import Recipe
from frostline.record import PRETRAINING, Json, RunRecord, read_record, write_atomically
from frostline.training import checkpoint_bytes

# What lies in the folder of a run before it begins.
OURS, OURS_OF_WORDS = (PRETRAINING,), (TEXTS,)


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """A run on masked words, checked and not begun, or finished; and the fine-tuning behind it.

    Attributes:
        folder: of the run on masked words.
        recipe: of it.
        then: the recipe of the fine-tuning, which begins with the weights of that run.
        is_done: whether it is finished.
        remarks: what a person should be told.
    """

    folder: Path
    recipe: Recipe
    then: Recipe
    is_done: bool
    remarks: tuple[str, ...] = ()

    def origin(self) -> Json:
        """Say what the fine-tuning began with, for its record, once the run on masked words is finished."""
        record, weights = read_record(self.folder), self.folder / PRETRAINED
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        number = record.best["epoch"]
        return {
            "run": PRETRAINING,
            "texts": sum(record.samples.values()),
            "epochs": len(record.epochs),
            "best": number,
            "loss": next((epoch.val_loss for epoch in record.epochs if epoch.epoch == number), None),
            "sha256": digest,
        }


def plan_pretraining(recipe: Recipe, out: Path, *, resume: bool) -> Pretraining:
    """Check both runs of a recipe with `pretrain` to the end, before a step of either is trained.

    A mistake in a phase of the fine-tuning must not be found after hours of pretraining. The texts to learn from are
    written down where those of the fine-tuning are taken: they are its training texts alone.

    Args:
        recipe: with `pretrain`.
        out: the folder of the fine-tuning.
        resume: whether either run may have begun.

    Raises:
        UserError: as `assemble`, for either of them; or in the folder is something else, or a pretraining with another
            recipe or on other texts is finished there; or a process does not see the folder of the main one.
    """
    if recipe.pretrain is None:
        raise ValueError("the recipe asks for no pretraining")
    folder = out / PRETRAINING
    then, masked = _from_weights(recipe, (folder / PRETRAINED).absolute()), masked_recipe(recipe, folder.absolute())
    runtime = runtime_of(recipe)
    if runtime.on_main(lambda: found(out, then, resume=resume, ours=OURS)) is not None:
        runtime.on_main(lambda: found(folder, masked, resume=resume, ours=OURS_OF_WORDS))
        return Pretraining(folder=folder, recipe=masked, then=then, is_done=True)
    tuned = runtime.together(lambda: gather(then))
    texts = None if recipe.pretrain.texts is not None else _as_written(tuned.parts.train, folder / TEXTS)
    learned = runtime.together(lambda: assemble(masked, processes=runtime.count, gathered=gather(masked, train=texts)))
    runtime.together(lambda: _try(then, learned.model, tuned, processes=runtime.count))
    judged = [samples for part, samples in tuned.parts.by_name().items() if part != "train"]
    every = list(learned.data.by_name().values())
    is_done = runtime.on_main(lambda: _look(folder, masked, texts, resume=resume))
    runtime.together(lambda: _check_shared(folder))
    remarks = () if texts is not None else tuple(_of_copies(every, judged, recipe.pretrain.texts or ""))
    return Pretraining(folder=folder, recipe=masked, then=then, is_done=is_done, remarks=remarks)


def _from_weights(recipe: Recipe, weights: Path) -> Recipe:
    """Give the recipe of the fine-tuning alone, which begins with weights of masked words."""
    network = recipe.model.model_copy(update={"weights": str(weights)})
    return recipe.model_copy(update={"pretrain": None, "model": network})


def _try(then: Recipe, model: nn.Module, tuned: Gathered, *, processes: int) -> None:
    """Put the fine-tuning together with weights as it will have them: some parts may be new then that are not now.

    Args:
        then: its recipe.
        model: the network of masked words, before it is trained.
        tuned: the samples.
        processes: that train together.

    Raises:
        UserError: as `assemble`.
    """
    with TemporaryDirectory() as place:
        weights = Path(place) / Path(PRETRAINED).name
        weights.write_bytes(checkpoint_bytes(model))
        try:
            assemble(_from_weights(then, weights), processes=processes, gathered=tuned)
        except WeightsError as error:
            found = f"the weights that it learns are not those of a classifier: {error.found}"
            raise WeightsError("pretrain", found=found, do="name another network, or leave `pretrain` out") from None


def _as_written(train: Samples, place: Path) -> Samples:
    """Give training texts as they will be read from where they are to be written."""
    content = () if train.texts is None else train.texts.content
    return unlabelled(Texts(content, np.arange(1, len(content) + 1), "{source}:{place}"), source=str(place.absolute()))


def _look(folder: Path, masked: Recipe, texts: Samples | None, *, resume: bool) -> bool:
    """See whether the run on masked words is finished; write its texts where it is not.

    Raises:
        RunError: it is, with another recipe or on other texts; or they cannot be written.
    """
    record: RunRecord | None = found(folder, masked, resume=resume, ours=OURS_OF_WORDS)
    every = () if texts is None or texts.texts is None else texts.texts.content
    file, content = folder / TEXTS, "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in every)
    same = texts is None or (file.is_file() and file.read_bytes() == content.encode())
    if record is not None and not same:
        raise RunError(
            f"resume {folder.parent}",
            found="a pretraining on other texts is finished there",
            do="choose another name with --out",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not same:
            write_atomically(file, content)
    except OSError as error:
        raise RunError(
            f"run {folder}", found=f"it cannot be written ({error.strerror})", do="choose another folder"
        ) from None
    return record is not None


def _check_shared(folder: Path) -> None:
    """See that this process has the folder in which the main one writes what the fine-tuning begins with.

    Raises:
        RunError: it has not, being on another machine.
    """
    if not folder.is_dir():
        raise RunError(
            f"run {folder}", found="a process does not see it", do="name a folder with --out that all machines share"
        )


def _of_copies(learned: Sequence[Samples], judged: Sequence[Samples], place: str) -> list[str]:
    """Say how many texts that one is judged on are among those that are learned from, without their labels."""
    known = {end for samples in learned for end in samples.ends}
    ends = [end for samples in judged for end in samples.ends]
    twice = sum(end in known for end in ends)
    if not twice:
        return []
    return [
        f"pretrain.texts: {place} has {twice:,} of the {counted(len(ends), 'text')} that this run is judged on: their "
        "words are learned, if not their labels"
    ]
