"""The recipe of masked words that `pretrain` stands for, written out, so that nothing of it is hidden."""

from pathlib import Path
from typing import Any

from frostline.recipe.schema import Recipe
from frostline.record import CHECKPOINTS

# In the folder of the run: the texts that it learns from, and its weights that count.
TEXTS = "texts.jsonl"
PRETRAINED = f"{CHECKPOINTS}/best.safetensors"
# Of the texts: by them the best epoch is found. They are training texts, too.
VAL = 0.1
# Of the steps: in them the rate rises, as RoBERTa's does (Liu et al. 2019, arXiv:1907.11692, table 9).
WARMUP = 0.06
# What holds for both runs.
_SHARED = (
    "optimizer",
    "clip_norm",
    "accumulate",
    "gradient_checkpointing",
    "compile",
    "shard",
    "precision",
    "batch_size",
    "seed",
    "device",
)


def masked_recipe(recipe: Recipe, folder: Path) -> Recipe:
    """Write out the run on masked words that comes before a fine-tuning.

    Args:
        recipe: of the fine-tuning, with `pretrain`.
        folder: of the run on masked words.
    """
    asked, every = recipe.pretrain, recipe.model_dump(mode="json")
    if asked is None:
        raise ValueError("the recipe asks for no pretraining")
    columns = recipe.data.columns
    data: dict[str, Any] = {"train": asked.texts or str(folder / TEXTS), "val": VAL}
    if asked.texts is not None and columns is not None and columns.text is not None and _has(asked.texts, columns.text):
        data["columns"] = {"text": columns.text}
    words: dict[str, Any] = {
        "task": "masked_text",
        "data": {**data, "on_bad": recipe.data.on_bad, "max_length": recipe.data.max_length},
        "model": {key: every["model"][key] for key in ("name", "weights", "tokenizer")},
        "phases": [{"epochs": asked.epochs, "freeze": "none", "lr": asked.lr}],
        "warmup": asked.epochs * WARMUP,
        "mask": asked.mask,
        "metric": "loss",
        **{key: every[key] for key in _SHARED},
    }
    return Recipe.model_validate(words)


def _has(place: str, column: str) -> bool:
    """Whether a table has a column of that name: one with other texts may call it otherwise."""
    from frostline.data.table import TABLES, has_column

    return Path(place).suffix.lower() in TABLES and has_column(Path(place), column)
