"""Texts with all but the head frozen: `frostline train` beside the Trainer of Hugging Face; `make table-text-replay`.

    python studies/text_replay.py [--network FOLDER] [--rounds 3]
    python studies/text_replay.py --result       # ten whole epochs of both, and how well they do; no times

Needs ../shared/data/text. Both train the same head on the same frozen network, with the same texts, batches, rates and
epochs, and judge every epoch; the ways take turns, each in a process of its own. Of the Trainer three epochs are run,
and the others are as its median epoch after the first. Without a network, one of four layers with random weights; for
the result the one that has learned the masked words in the study of BANKING77.
"""

import argparse
import csv
import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median, stdev
from time import perf_counter
from typing import Any

import numpy as np

from small_bert import make_bert
from tables import write_table

ROOT = Path(__file__).resolve().parents[1]
TEXTS = ROOT.parent / "shared/data/text/banking77/train.csv"
PAGE = ROOT / "docs/studies/text_replay.md"
RUNS = ROOT / "runs/text-replay"
EPOCHS = (10, 30)
WANTED = {10: 7, 30: 18}
RUN_OF_THE_TRAINER = 3
LEARNED = ROOT / "runs/banking77/split 0/pretraining"
SEEDS = range(3)
SIZES = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
BATCH_SIZE, RATE, LONGEST = 32, 1e-3, 128
HEADER = ("epochs", "Hugging Face Trainer", "frostline", "times as fast", "must be")


def main() -> None:
    """Measure, or be one of the ways."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", type=Path, help="a folder with config.json, weights and tokenizer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--result", action="store_true", help="train both to the end, and say how well they do")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one", nargs=2, metavar=("WAY", "EPOCHS"), help="run one way, and print what it took")
    asked = parser.parse_args()
    if not TEXTS.is_file():
        sys.exit(f"{TEXTS} is not here: this study needs its texts")
    network = asked.network or (learned() if asked.result else made(RUNS / "bert"))
    if asked.one:
        way, epochs = asked.one
        print(json.dumps(WAYS[way](network, int(epochs), seed=asked.seed)))
        return
    if asked.result:
        compare(network)
        return
    train, val = split()
    rounds = []
    for number in range(asked.rounds):
        trainer = _measured(network, "trainer", RUN_OF_THE_TRAINER)
        ours = {epochs: _measured(network, "frostline", epochs) for epochs in EPOCHS}
        theirs = {epochs: _extrapolated(trainer["epochs"], epochs) for epochs in EPOCHS}
        rounds.append((theirs, {epochs: one["seconds"] for epochs, one in ours.items()}))
        print(f"round {number + 1}:", *rounds[-1], trainer["val"], ours[EPOCHS[0]]["val"], file=sys.stderr, flush=True)
    rows = [
        (
            f"{epochs}",
            f"≈ {median(theirs[epochs] for theirs, _ in rounds):.0f} s",
            f"{median(ours[epochs] for _, ours in rounds):.1f} s",
            f"{median(theirs[epochs] / ours[epochs] for theirs, ours in rounds):.1f}",
            f"≥ {WANTED[epochs]}",
        )
        for epochs in EPOCHS
    ]
    note = f"{len(train):,} texts to train on, {len(val):,} to judge by; median of {asked.rounds} rounds."
    write_table(PAGE, header=HEADER, rows=rows, note=note)


def compare(network: Path) -> None:
    """Train both to the end with several seeds, and print how well they do."""
    every = {way: [_measured(network, way, EPOCHS[0], seed=seed)["val"] for seed in SEEDS] for way in WAYS}
    for name in ("accuracy", "loss"):
        for way in WAYS:
            values = [val[name] for val in every[way]]
            print(f"{name} {way}: {mean(values):.4f} ± {stdev(values):.4f}", [f"{value:.4f}" for value in values])


def learned() -> Path:
    """Give the network of the study of BANKING77, as transformers loads it."""
    from frostline.deployment import export_run

    folder = LEARNED / "export/huggingface"
    if not (LEARNED / "record.json").is_file():
        sys.exit(f"{LEARNED} is not here: `make table-banking77` makes it; or name a network")
    if not folder.is_dir():
        export_run(LEARNED, form="weights")
    return folder


def split() -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Give nine tenths of the texts to train on, and the others."""
    with TEXTS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    order = np.random.default_rng(0).permutation(len(rows))
    return [rows[place] for place in order[len(rows) // 10 :]], [rows[place] for place in order[: len(rows) // 10]]


def made(folder: Path) -> Path:
    """Make a small network with random weights, and a tokenizer of the words of the training texts."""
    if (folder / "config.json").is_file():
        return folder
    texts = [row["text"] for row in split()[0]]
    return make_bert(folder, texts, sizes=SIZES, words=4000, longest=LONGEST, seed=0)


def _measured(network: Path, way: str, epochs: int, *, seed: int = 0) -> dict[str, Any]:
    command = [sys.executable, __file__, "--network", str(network), "--seed", str(seed), "--one", way, str(epochs)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _extrapolated(seconds: list[float], epochs: int) -> float:
    """Say what so many epochs take: the first, and the others as the median of those after it."""
    return seconds[0] + (epochs - 1) * median(seconds[1:])


def of_the_trainer(network: Path, epochs: int, *, seed: int, still: bool = False) -> dict[str, Any]:
    """Train with Hugging Face's Trainer, as its guide to text classification does.

    Args:
        network: a folder.
        epochs: to train.
        seed: of the head and the order.
        still: let nothing drop out in what is frozen, as frostline does; the Trainer does not do that by itself.
    """
    import transformers as hf

    train, val = split()
    names = sorted({row["category"] for row in train})
    numbers = {name: number for number, name in enumerate(names)}
    ends: list[float] = []

    class Clock(hf.TrainerCallback):
        def on_evaluate(self, *_: Any, **__: Any) -> None:
            ends.append(perf_counter())

    def accuracy(judged: Any) -> dict[str, float]:
        return {"accuracy": float((judged.predictions.argmax(1) == judged.label_ids).mean())}

    begun = perf_counter()
    hf.set_seed(seed)
    settings: dict[str, Any] = (
        {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.1} if still else {}
    )
    tokenizer = hf.AutoTokenizer.from_pretrained(network)
    model = hf.AutoModelForSequenceClassification.from_pretrained(network, num_labels=len(names), **settings)
    for name, parameter in model.named_parameters():
        # The pooler is new, as in frostline's run.
        parameter.requires_grad = name.startswith(("classifier.", "bert.pooler."))
    parts = [
        [{**tokenizer(row["text"], truncation=True), "labels": numbers[row["category"]]} for row in part]
        for part in (train, val)
    ]
    with tempfile.TemporaryDirectory() as folder:
        trainer = hf.Trainer(
            model=model,
            args=hf.TrainingArguments(
                folder,
                per_device_train_batch_size=BATCH_SIZE,
                per_device_eval_batch_size=BATCH_SIZE,
                num_train_epochs=epochs,
                learning_rate=RATE,
                weight_decay=0.01,
                lr_scheduler_type="cosine",
                seed=seed,
                eval_strategy="epoch",
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=True,
            ),
            train_dataset=parts[0],
            eval_dataset=parts[1],
            data_collator=hf.DataCollatorWithPadding(tokenizer),
            compute_metrics=accuracy,
            callbacks=[Clock()],
        )
        trainer.train()
    seconds = np.diff([begun, *ends]).tolist()
    judged = trainer.state.log_history[-2]
    val_scores = {"loss": judged["eval_loss"], "accuracy": judged["eval_accuracy"]}
    return {"seconds": perf_counter() - begun, "epochs": seconds, "val": val_scores}


def of_frostline(network: Path, epochs: int, *, seed: int) -> dict[str, Any]:
    """Train as the command does, on an empty store."""
    from frostline.recipe import Recipe, finetune

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for part, rows in zip(("train", "val"), split(), strict=True):
            with (folder / f"{part}.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, ("text", "category"))
                writer.writeheader()
                writer.writerows(rows)
        recipe = Recipe.model_validate(
            {
                "task": "text",
                "data": {"train": str(folder / "train.csv"), "val": str(folder / "val.csv")},
                "model": {"name": f"hf/{network}"},
                "phases": ({"epochs": epochs, "freeze": "all", "lr": RATE},),
                "optimizer": {"name": "adamw", "weight_decay": 0.01},
                "clip_norm": 1.0,  # as the Trainer does unasked
                "seed": seed,
                "batch_size": BATCH_SIZE,
                "replay": {"dir": str(folder / "store")},
                "device": "cpu",
            }
        )
        begun = perf_counter()
        record = finetune(recipe, out=folder / "run")
        last = record.epochs[-1]
        return {"seconds": perf_counter() - begun, "val": {"loss": last.val_loss, **last.metrics}}


WAYS: dict[str, Callable[..., dict[str, Any]]] = {
    "trainer": of_the_trainer,
    "trainer, still": functools.partial(of_the_trainer, still=True),
    "frostline": of_frostline,
}


if __name__ == "__main__":
    main()
