"""TrashNet: what each augmentation policy does to a frozen network, its last stage and all of it.

`make table-augmentation`; needs ../shared/data. 50 pictures of each of six classes for training, the other 20 for test,
five seeds, each its own split, which all arms share; nothing is chosen on the test set, and the last epoch counts.
Runs that are there already (runs/table-augmentation) are not made again: a study that was stopped goes on.
"""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from statistics import mean

import torch

from frostline.recipe import finetune
from frostline.record import RECORD_FILE, RunRecord, read_record
from tables import spread, write_table
from trashnet import SHARED, trashnet_recipe

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/studies/augmentation.md"
RUNS = ROOT / "runs/table-augmentation"
SEEDS = range(5)
HEAD_FIRST = {"epochs": 4, "freeze": "all", "lr": 3e-3}
DEPTHS: dict[str, dict[str, object]] = {
    "frozen": {
        "phases": [{"epochs": 10, "freeze": "all", "lr": 3e-3}],
        "optimizer": {"name": "adamw", "weight_decay": 1.0},
    },
    "last stage": {
        "phases": [HEAD_FIRST, {"epochs": 6, "freeze": {"through": "stage4"}, "lr": 3e-4}],
        "norm": "refill",
    },
    "full": {"phases": [HEAD_FIRST, {"epochs": 6, "freeze": "none", "lr": 3e-4}], "norm": "refill"},
}
POLICIES: dict[str, object] = {
    "none": "none",
    "light": "light",
    "standard": "standard",
    "strong": "strong",
    "standard, mixup 0.2 and cutmix 1": {"policy": "standard", "mixup": 0.2, "cutmix": 1.0},
}


def main() -> None:
    """Measure and write the table."""
    if not SHARED.is_dir():
        sys.exit(f"{SHARED} is not here: this study needs its pictures and weights")
    arms = list(product(SEEDS, DEPTHS, POLICIES))
    # One thread each: two processes with two threads each wait for one another.
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        records = dict(zip(arms, pool.map(_run, arms), strict=True))
    rows = []
    for policy in POLICIES:
        row = [policy]
        for depth in DEPTHS:
            mine, plain = ([records[seed, depth, name] for seed in SEEDS] for name in (policy, "none"))
            gaps = [_accuracy(ours) - _accuracy(theirs) for ours, theirs in zip(mine, plain, strict=True)]
            fit = mean(record.epochs[-1].train_metrics["accuracy"] for record in mine)
            row += [
                spread([_accuracy(record) for record in mine]),
                "" if policy == "none" else spread(gaps),
                f"{fit:.2f}",
            ]
        rows.append(row)
    header = [""]
    for depth in DEPTHS:
        header += [f"{depth}: test accuracy", "minus none, paired", "accuracy in training"]
    write_table(PAGE, header=header, rows=rows, note=f"120 test pictures, mean ± sd over {len(SEEDS)} seeds.")


def _run(arm: tuple[int, str, str]) -> RunRecord:
    seed, depth, policy = arm
    out = RUNS / f"{depth}-{list(POLICIES).index(policy)}-{seed}".replace(" ", "-")
    if (out / RECORD_FILE).is_file():
        return read_record(out)
    torch.set_num_threads(1)
    recipe = trashnet_recipe({"augment": POLICIES[policy], **DEPTHS[depth]}, seed)
    record = finetune(recipe, out=out)
    print(f"{depth}, {policy}, seed {seed}: {_accuracy(record):.3f}, {record.seconds['total']:.0f} s", flush=True)
    return record


def _accuracy(record: RunRecord) -> float:
    return record.evaluations[0].metrics["accuracy"]


if __name__ == "__main__":
    main()
