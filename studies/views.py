"""TrashNet: how many fixed draws of each picture replay needs, beside fresh augmentation in every epoch.

`make table-views`; needs ../shared/data. 50 pictures of each of six classes for training, the other 20 for test, five
seeds, each its own split, which all arms share; nothing is chosen on the test set, and the last epoch counts. Every run
has an empty store. Seconds are those of the processor, on one thread. Runs that are there already (runs/table-views)
are not made again: a study that was stopped goes on.
"""

import json
import os
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from frostline.recipe import finetune
from tables import spread, write_table
from trashnet import SHARED, trashnet_recipe

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/studies/views.md"
RUNS = ROOT / "runs/table-views"
SEEDS = range(5)
DEPTHS: dict[str, dict[str, object]] = {
    "frozen, 20 epochs": {
        "phases": [{"epochs": 20, "freeze": "all", "lr": 3e-3}],
        "optimizer": {"name": "adamw", "weight_decay": 1.0},
    },
    "last stage, 10 epochs": {
        "phases": [{"epochs": 10, "freeze": {"through": "stage4"}, "lr": 1e-3}],
        "norm": "refill",
    },
}
STANDARD = {"augment": "standard"}
ARMS: dict[str, dict[str, object]] = {
    "none": {"replay": {}},
    **{f"K = {views}": {**STANDARD, "replay": {"views": views}} for views in (1, 2, 4, 8, 16)},
    "fresh in every epoch": {**STANDARD, "replay": "off"},
}


def main() -> None:
    """Measure and write the table."""
    if not SHARED.is_dir():
        sys.exit(f"{SHARED} is not here: this study needs its pictures and weights")
    arms = list(product(SEEDS, DEPTHS, ARMS))
    # One thread each: two processes with two threads each wait for one another.
    with ProcessPoolExecutor(int(os.environ.get("PROCESSES", os.cpu_count() or 1)), max_tasks_per_child=1) as pool:
        found = dict(zip(arms, pool.map(_run, arms), strict=True))
    rows = []
    for arm in ARMS:
        row = [arm]
        for depth in DEPTHS:
            mine, fresh = ([found[seed, depth, name] for seed in SEEDS] for name in (arm, "fresh in every epoch"))
            gaps = [ours["accuracy"] - theirs["accuracy"] for ours, theirs in zip(mine, fresh, strict=True)]
            row += [
                spread([one["accuracy"] for one in mine]),
                "" if arm == "fresh in every epoch" else spread(gaps),
                f"{mean(one['seconds'] for one in mine):.0f} s",
            ]
        rows.append(row)
    header = ["draws of each picture"]
    for depth in DEPTHS:
        header += [f"{depth}: test accuracy", "minus fresh, paired", "seconds of the processor"]
    write_table(PAGE, header=header, rows=rows, note=f"120 test pictures, mean ± sd over {len(SEEDS)} seeds.")


def _run(arm: tuple[int, str, str]) -> dict[str, Any]:
    seed, depth, name = arm
    out = RUNS / f"{list(DEPTHS).index(depth)}-{list(ARMS).index(name)}-{seed}"
    if (out / "found.json").is_file():
        found: dict[str, Any] = json.loads((out / "found.json").read_text())
        return found
    shutil.rmtree(out, ignore_errors=True)
    torch.set_num_threads(1)
    store = RUNS / f"store-{out.name}"
    changes = {**ARMS[name], **DEPTHS[depth]}
    if isinstance(changes["replay"], dict):
        changes["replay"] = {**changes["replay"], "dir": str(store)}
    begun = time.process_time()
    record = finetune(trashnet_recipe(changes, seed), out=out)
    seconds = time.process_time() - begun
    shutil.rmtree(store, ignore_errors=True)
    found = {"accuracy": record.evaluations[0].metrics["accuracy"], "seconds": seconds}
    (out / "found.json").write_text(json.dumps(found))
    said = "; ".join(record.phases[0].replay)
    print(f"{depth}, {name}, seed {seed}: {found['accuracy']:.3f}, {seconds:.0f} s, {said}", flush=True)
    return found


if __name__ == "__main__":
    main()
