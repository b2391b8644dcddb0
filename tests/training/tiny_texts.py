"""Tiny runs on texts for tests: a table of short texts, a network of transformers with a tokenizer, recipes."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import logging

from frostline.recipe import Recipe, load_recipe

torch.set_num_threads(1)
logging.set_verbosity_error()
logging.disable_progress_bar()

# A text is of the class whose word is in it.
CLASSES = {"card": "plastic", "money": "coins", "travel": "train"}
FILLERS = ("the", "my", "a", "please", "how", "where", "is", "was", "been", "for", "to", "with", "and", "not", "yet")
MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (*MARKS, *CLASSES.values(), *FILLERS)
POSITIONS = 40
SMALL: dict[str, Any] = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": POSITIONS,
    "classifier_dropout": 0.0,  # for loops by hand
}


def text_rows(count: int = 60, *, seed: int = 0, longest: int = 14) -> list[tuple[str, str]]:
    """Make texts of three classes, each of another length."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        name = list(CLASSES)[number % len(CLASSES)]
        words = [*draw.choices(FILLERS, k=draw.randint(2, longest - 1)), CLASSES[name]]
        draw.shuffle(words)
        rows.append((" ".join(words), name))
    return rows


def write_texts(path: Path, rows: list[tuple[str, str]] | None = None) -> Path:
    """Write a table of texts; its ending says how."""
    rows = text_rows() if rows is None else rows
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
        return path
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerows([("text", "label"), *rows])
    return path


def tokenizer(*, side: str = "right") -> Any:
    """Make a tokenizer whose words are those of the texts."""
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        padding_side=side,
        model_max_length=POSITIONS,
    )


def save_network(folder: Path, kind: str = "BertForSequenceClassification", *, seed: int = 0, **changes: Any) -> Path:
    """Save a network with random weights, and the tokenizer beside it."""
    made: Any = getattr(transformers, kind)
    settings = {**SMALL, **changes}
    if kind.startswith("DistilBert"):
        settings = {"vocab_size": len(WORDS), "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, **changes}
    torch.manual_seed(seed)
    made(made.config_class(**settings)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def write_text_recipe(
    folder: Path, *, kind: str = "BertForSequenceClassification", network: dict[str, Any] | None = None, **keys: Any
) -> Path:
    """Write texts, network and recipe into a folder."""
    if not (folder / "texts.csv").exists():
        write_texts(folder / "texts.csv")
    if not (folder / "net").exists():
        save_network(folder / "net", kind, **(network or {}))
    words: dict[str, Any] = {
        "task": "text",
        "data": {"train": "texts.csv", "val": 0.2},
        "model": {"name": f"hf/{folder / 'net'}"},
        "phases": [{"epochs": 2, "freeze": "all", "lr": 0.01}],
        "optimizer": {"name": "sgd"},
        "schedule": "constant",
        "batch_size": 4,
        "seed": 3,
        "replay": {"dir": str(folder / "store")},
    }
    path = folder / "texts.yaml"
    path.write_text(json.dumps({**words, **keys}))
    return path


def text_recipe(folder: Path, *changes: str, **keys: Any) -> Recipe:
    return load_recipe(str(write_text_recipe(folder, **keys)), overrides=changes)
