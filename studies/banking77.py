"""BANKING77 with a small BERT that learned the words of the training texts first: techniques at 5, 20 and all a class.

    python studies/banking77.py [--resume]       # or `make table-banking77`; two hours; needs ../shared/data/text

The one file there is, split by each seed: a fifth of each class to judge by, the others to train on. A BERT of four
layers is pretrained on the masked words of all training texts (never of those that are judged), once a seed; then every
technique begins with it, at 5, 20 and all labelled texts of each class. The rate of each was chosen at 20 a class, on
the split of another seed. Results are kept in runs/banking77 as they come.
"""

import argparse
import csv
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from frostline.data import Samples
from frostline.recipe import Recipe, assemble, finetune
from frostline.record import RunRecord
from kept import Kept, Words
from small_bert import make_bert
from tables import spread, write_table

ROOT = Path(__file__).resolve().parents[1]
TEXTS = ROOT.parent / "shared/data/text/banking77/train.csv"
PAGE = ROOT / "docs/studies/banking77.md"
KEPT = ROOT / "runs/banking77"
SEEDS, SCANNED = range(3), 100
TEST = 0.2
PRETRAINING = {"epochs": 40, "lr": 1e-3}
# Labelled texts a class → epochs of every technique.
EPOCHS: dict[int | None, int] = {5: 60, 20: 40, None: 6}
SCANNED_SIZE = 20
ARMS: dict[str, Words] = {
    "from scratch": {"model.weights": "none", "technique": "full"},
    "frozen": {"technique": "frozen"},
    "gradual": {"technique": "gradual"},
    "by depth": {"technique": "discriminative"},
    "LoRA": {"technique": "lora"},
    "full": {"technique": "full"},
}
# No network at all: how far single words and pairs of them go.
COUNTED = "words counted, logistic regression"
RATES = {
    "from scratch": (3e-4, 1e-3, 3e-3),
    "frozen": (1e-3, 3e-3, 1e-2),
    "gradual": (3e-4, 1e-3, 3e-3, 1e-2),
    "by depth": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    "LoRA": (1e-3, 3e-3, 1e-2),
    "full": (1e-4, 3e-4, 1e-3, 3e-3),
    COUNTED: (1, 10, 100),  # C, the inverse of what it is held back by
}
SIZES = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512}
LONGEST = 64


def main() -> None:
    """Measure what is not known yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--resume", action="store_true", help="keep what runs/banking77 has")
    if not TEXTS.is_file():
        sys.exit(f"{TEXTS} is not here: this study needs its texts")
    results = Results(Kept(KEPT / "results.jsonl", resume=parser.parse_args().resume))
    rates = {}
    for arm in RATES:
        tried = {rate: results.of(SCANNED, arm, SCANNED_SIZE, rate)["accuracy"] for rate in RATES[arm]}
        rates[arm] = max(tried, key=lambda rate: tried[rate])
    write_table(PAGE, header=HEADER, rows=list(_rows(results, rates)), note=_note(results))


HEADER = ("labelled texts a class", "technique", "rate", "accuracy", "macro F1", "trained", "processor seconds")


def _rows(results: "Results", rates: Mapping[str, float]) -> Iterator[tuple[str, ...]]:
    for size in EPOCHS:
        for arm in RATES:
            every = [results.of(seed, arm, size, rates[arm]) for seed in SEEDS]
            yield (
                "all" if size is None else str(size),
                arm,
                f"{rates[arm]:g}",
                spread([one["accuracy"] for one in every]),
                spread([one["macro_f1"] for one in every]),
                f"{every[0]['trained']:,} ({every[0]['trained'] / every[0]['parameters']:.1%})",
                f"{mean(one['seconds'] for one in every):.0f}",
            )


def _note(results: "Results") -> str:
    learned = [results.pretrained(seed) for seed in SEEDS]
    return (
        f"Mean ± sd over {len(SEEDS)} seeds; {learned[0]['texts']:,} texts to train on, {learned[0]['judged']:,} to "
        "judge by. "
        f"Pretraining: {PRETRAINING['epochs']} epochs, {mean(one['seconds'] for one in learned):.0f} s, masked words "
        f"{mean(one['accuracy'] for one in learned):.1%} right (the commonest word: {learned[0]['commonest']:.1%}). "
        "Trained: the most of any phase."
    )


class Results:
    """What was measured, by what it is of."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def of(self, seed: int, arm: str, size: int | None, rate: float) -> Words:
        """Give what a technique reached on the split of a seed."""
        key = {"seed": seed, "arm": arm, "size": size, "rate": rate}
        return self._kept.get(key, partial(_tuned, seed, arm, size, rate))

    def pretrained(self, seed: int) -> Words:
        """Give what pretraining on the texts of a seed's split reached."""
        return self._kept.get({"seed": seed, "arm": "pretraining"}, partial(_pretrained, seed))


def split(seed: int) -> Path:
    """Write the texts of a seed's split, a fifth of each class to judge by, and a network for them; give the folder."""
    folder = KEPT / f"split {seed}"
    if (folder / "bert/tokenizer.json").is_file():
        return folder
    with TEXTS.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    draw, labels = np.random.default_rng(seed), np.array([row["category"] for row in rows])
    judged: set[int] = set()
    for label in sorted(set(labels)):
        places = draw.permutation(np.flatnonzero(labels == label))
        judged.update(places[: round(len(places) * TEST)].tolist())
    # A text that is there twice must not be learned from and judged.
    known = {rows[place]["text"].strip().lower() for place in judged}
    train = [row for at, row in enumerate(rows) if at not in judged and row["text"].strip().lower() not in known]
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", train), ("test", [rows[place] for place in sorted(judged)])):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["text", "category"])
            writer.writeheader()
            writer.writerows(part)
    texts = [row["text"] for row in train]
    make_bert(folder / "bert", texts, sizes=SIZES, words=2000, longest=LONGEST, seed=seed)
    return folder


def _pretrained(seed: int) -> Words:
    """Learn the masked words of the training texts of a split, where that is not done yet."""
    folder = split(seed)
    words: Words = {
        "task": "masked_text",
        "data": {"train": str(folder / "train.csv"), "columns": {"text": "text"}, "val": 0.05},
        "model": {"name": f"hf/{folder / 'bert'}", "weights": "none"},
        "phases": [{"epochs": PRETRAINING["epochs"], "freeze": "none", "lr": PRETRAINING["lr"]}],
        "warmup": 2,
        "metric": "loss",
        "seed": seed,
    }
    record = finetune(Recipe.model_validate(words), out=folder / "pretraining", resume=True)
    best = record.epochs[record.best["epoch"] - 1]
    with (folder / "test.csv").open(newline="", encoding="utf-8") as file:
        judged = sum(1 for _ in csv.DictReader(file))
    return {
        "texts": record.samples["train"] + record.samples["val"],
        "judged": judged,
        "accuracy": best.metrics["accuracy"],
        "loss": best.val_loss,
        "commonest": _commonest(folder),
        "seconds": record.seconds["total"],
    }


def _commonest(folder: Path) -> float:
    """Give the share of the commonest token among those of the training texts: what guessing would reach."""
    from collections import Counter

    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained
    read = tokenizer(folder / "bert")
    with (folder / "train.csv").open(newline="", encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    counted = Counter(token for ids in read(texts, add_special_tokens=False)["input_ids"] for token in ids)
    return counted.most_common(1)[0][1] / counted.total()


def _tuned(seed: int, arm: str, size: int | None, rate: float) -> Words:
    """Fine-tune with a technique, and judge it."""
    pretrained(seed)
    if arm == COUNTED:
        return _counted(_recipe(seed, arm, size, rate), strength=rate)
    with tempfile.TemporaryDirectory() as place:
        recipe = _recipe(seed, arm, size, rate, replay={"dir": str(Path(place) / "store")})
        before = _processor_seconds()
        record = finetune(recipe, out=Path(place) / "run")
        return _outcome(record, seconds=_processor_seconds() - before)


def labelled(folder: Path, size: int | None, *, weights: str) -> Words:
    """Say which labelled texts of a split are learned, so many of each class, and by what network."""
    return {
        "task": "text",
        "data": {
            "train": str(folder / "train.csv"),
            "columns": {"text": "text", "label": "category"},
            "val": None,
            "test": str(folder / "test.csv"),
            "per_class": size,
        },
        "model": {"name": f"hf/{folder / 'bert'}", "weights": weights},
    }


def _recipe(seed: int, arm: str, size: int | None, rate: float, **keys: Any) -> Recipe:
    folder, changes = split(seed), dict(ARMS.get(arm, ARMS["frozen"]))
    weights = changes.pop("model.weights", str(folder / "pretraining/checkpoints/best.safetensors"))
    words: Words = {
        **labelled(folder, size, weights=weights),
        "technique": {"name": changes["technique"], "epochs": EPOCHS[size], "lr": rate},
        # The first phases of `gradual` are of one epoch where there are six.
        "warmup": 0 if (arm, size) == ("gradual", None) else 1,
        "seed": seed,
    }
    return Recipe.model_validate({**words, **keys})


def _counted(recipe: Recipe, *, strength: float) -> Words:
    """Fit a logistic regression to how often words and pairs of words stand in the same texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.pipeline import make_pipeline

    data = assemble(recipe).data
    (texts, labels), (judged, truth) = map(_read, (data.train, data.test))
    before = _processor_seconds()
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=strength, max_iter=1000)
    ).fit(texts, labels)
    found = model.predict(judged)
    trained = model[-1].coef_.size + model[-1].intercept_.size
    return {
        "accuracy": float((found == truth).mean()),
        "macro_f1": float(f1_score(truth, found, average="macro")),
        "parameters": trained,
        "trained": trained,
        "seconds": _processor_seconds() - before,
    }


def _read(samples: Samples | None) -> tuple[list[str], np.ndarray]:
    if samples is None or samples.texts is None:
        sys.exit(f"{TEXTS} holds no texts")
    return list(samples.texts.content), samples.labels


def _processor_seconds() -> float:
    """Say how long this process and those it has waited for have computed, whatever else the machine does."""
    return sum(os.times()[:4])


def pretrained(seed: int) -> Path:
    """Give the weights that techniques begin with, learned where they are not there yet."""
    if not (KEPT / f"split {seed}/pretraining/record.json").is_file():
        _pretrained(seed)
    return KEPT / f"split {seed}/pretraining/checkpoints/best.safetensors"


def _outcome(record: RunRecord, *, seconds: float) -> Words:
    (judged,) = record.evaluations
    return {
        "accuracy": judged.metrics["accuracy"],
        "macro_f1": judged.metrics["macro_f1"],
        "parameters": record.parameters["total"],
        "trained": record.parameters["trained"],
        "seconds": seconds,
    }


if __name__ == "__main__":
    main()
