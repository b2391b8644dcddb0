"""A finished run as what it is for: its network with the trained weights, its classes and what it is given."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from frostline.backbones import (
    InputSpec,
    Spec,
    TextSpec,
    code_digest,
    kept_digest,
    load_weights,
    read_weights,
    saved_tokenizer,
)
from frostline.errors import RunError
from frostline.lora import layers_with
from frostline.recipe.assembly import rebuilt
from frostline.recipe.load import load_recipe
from frostline.recipe.schema import Recipe
from frostline.record import RECIPE_FILE, TOKENIZER, RunRecord, read_record
from frostline.tasks import ImageTask, MaskedTextTask, Task, TextTask
from frostline.training import checkpoint_of


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The network of a run.

    Attributes:
        run: the run's folder.
        recipe: what was asked, as the run's own recipe file says.
        record: what happened.
        checkpoint: the file of the weights: the best, or the last where there was no validation.
        model: the network with these weights, in eval mode on the CPU.
        spec: what it takes.
        bounds: of texts, the lengths to which they are padded.
        classes: what its scores are of, in their order; none where they are of words.
        cautions: what a person should know before the run is used.
    """

    run: Path
    recipe: Recipe
    record: RunRecord
    checkpoint: Path
    model: nn.Module
    spec: Spec
    classes: tuple[str, ...]
    cautions: tuple[str, ...] = ()
    bounds: tuple[int, ...] = ()

    @property
    def what(self) -> str:
        """What a sample is called: `picture` or `text`."""
        return "text" if isinstance(self.spec, TextSpec) else "picture"

    @property
    def task(self) -> Task:
        """What a batch is, and how predictions are judged."""
        common: dict[str, Any] = {
            "classes": self.classes,
            "batch_size": self.recipe.batch_size,
            "workers": self.recipe.data.workers,
        }
        if isinstance(self.spec, TextSpec) and self.recipe.task == "masked_text":
            return MaskedTextTask(spec=self.spec, bounds=self.bounds, share=self.recipe.mask, **common)
        if isinstance(self.spec, TextSpec):
            return TextTask(spec=self.spec, bounds=self.bounds, **common)
        return ImageTask(spec=self.spec, **common)


def load_run(run: Path) -> Trained:
    """Build the network of a run and load what it learned; the data is not needed.

    Raises:
        RunError: the folder has no run, or no checkpoint.
        UserError: the network of the run cannot be built any more.
    """
    record = read_record(run)
    checkpoint = checkpoint_of(run)
    recipe = load_recipe(str(run / RECIPE_FILE))
    # What is published may be another by now, and the run has learned from what was published then.
    recorded = _recorded(record.input, run) if record.input else None
    tensors = read_weights(checkpoint)
    adapted = layers_with(tensors)
    model, published = rebuilt(_with_kept(recipe, run), num_classes=len(record.classes), adapted=adapted)
    load_weights(model, tensors, path=checkpoint)
    return Trained(
        run=run,
        recipe=recipe,
        record=record,
        checkpoint=checkpoint,
        model=model.eval(),
        spec=recorded or published,
        classes=tuple(record.classes),
        cautions=tuple(_cautions(record, recipe)),
        bounds=tuple(record.input.get("bounds", ())),
    )


def _with_kept(recipe: Recipe, run: Path) -> Recipe:
    """Let the tokenizer be the one that the run has kept: the network's own may be gone, or another."""
    if not (run / TOKENIZER).is_dir():
        return recipe
    network = recipe.model.model_copy(update={"tokenizer": str((run / TOKENIZER).absolute())})
    return recipe.model_copy(update={"model": network})


def _recorded(given: Mapping[str, Any], run: Path) -> Spec:
    """Give what a run's network was given.

    Raises:
        RunError: it was texts, and the tokenizer that the run kept is gone, or another.
    """
    if "tokenizer" in given:
        asked, do = f"run {run}", "put back the tokenizer that the run was trained with"
        try:
            spec = saved_tokenizer(run / TOKENIZER, **{key: given[key] for key in ("max_length", "most", "names")})
        except Exception as error:  # of the file system, of JSON, of the library for each kind
            found = f"its tokenizer cannot be read ({type(error).__name__})"
            raise RunError(asked, found=found, do=do) from None
        if kept_digest(run / TOKENIZER, spec) != given["tokenizer"]:
            raise RunError(asked, found="its tokenizer is not the one that the run was trained with", do=do)
        return spec
    return InputSpec(**{**given, "mean": tuple(given["mean"]), "std": tuple(given["std"])})


def _cautions(record: RunRecord, recipe: Recipe) -> Iterator[str]:
    if record.status != "finished":
        yield f"the run failed ({record.failure}): these are the weights that it kept"
    if record.code and record.code != code_digest(recipe.model.name):
        file = recipe.model.name.rpartition(":")[0]
        yield f"{file} is not what it was when the run was trained: what it computes now may differ"
