"""Techniques side by side on digits and TrashNet, fastai's `fine_tune` beside them; `make table-techniques`.

Needs ../shared/data, and the environment of the benchmarks. Every arm of a data set has the same network to begin with
(but from scratch), the same pictures, batches and epochs; five seeds, each its own split; nothing is chosen on the test
set, and the last epoch counts. Every run is a process of its own, whose peak memory is taken, on an empty store. Runs
that are there already (runs/table-techniques) are not made again: a study that was stopped goes on.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from frostline.data import named_parts
from frostline.recipe import Assembly, Recipe, assemble, expanded, finetune, load_recipe, stage_names
from frostline.training import Runtime, evaluate, peak_rss_mb
from tables import spread, write_table
from trashnet import SHARED, trashnet_recipe

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/studies/techniques.md"
RUNS = ROOT / "runs/table-techniques"
SEEDS = range(5)
PEER = "fastai fine_tune"


def digits(changes: dict[str, Any], seed: int) -> Recipe:
    """Give a recipe for the digits: 20 pictures of each to train on, all others for test."""
    return _changed(load_recipe("digits", overrides=["data.val=null", f"seed={seed}"]), changes)


def trashnet(changes: dict[str, Any], seed: int) -> Recipe:
    """Give a recipe for TrashNet: MobileNetV2 whose BatchNorm is refilled, 50 photographs of each kind to train on."""
    return trashnet_recipe({"norm": "refill", **changes}, seed)


SETS: dict[str, tuple[Callable[[dict[str, Any], int], Recipe], int]] = {
    "digits": (digits, 30),
    "TrashNet": (trashnet, 10),
}
# Rates as in the other studies on these pictures: 3e-3 for a head, a tenth of it for what was pretrained.
ARMS: dict[str, dict[str, Any]] = {
    "frozen": {"name": "frozen", "lr": 3e-3},
    "two-stage": {"name": "two_stage", "lr": 3e-3},
    "gradual": {"name": "gradual", "lr": 1e-3},
    "discriminative": {"name": "discriminative", "lr": 3e-3},
    "full": {"name": "full", "lr": 3e-4},
    "from scratch": {"name": "full", "lr": 3e-3},
}


def main() -> None:
    """Measure and write the table, or make one run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--one", nargs=3, metavar=("SET", "ARM", "SEED"))
    options = parser.parse_args()
    if not SHARED.is_dir():
        sys.exit(f"{SHARED} is not here: this study needs its pictures and weights")
    if options.one:
        print(json.dumps(_one(options.one[0], options.one[1], int(options.one[2]))))
        return
    rows = []
    for where, (_, epochs) in SETS.items():
        # Seed by seed, so that what a busy hour costs is shared by all.
        found = {(arm, seed): _measured(where, arm, seed) for seed in SEEDS for arm in (*ARMS, PEER)}
        for arm in (*ARMS, PEER):
            mine = [found[arm, seed] for seed in SEEDS]
            gaps = [found[arm, seed]["accuracy"] - found[PEER, seed]["accuracy"] for seed in SEEDS]
            rows.append(
                [
                    where,
                    arm,
                    str(epochs),
                    spread([one["accuracy"] for one in mine]),
                    "" if arm == PEER else f"{spread(gaps)} (t = {_paired_t(gaps):.1f})",
                    f"{mean(one['seconds'] for one in mine):.1f} s",
                    f"{mean(one['peak_mb'] for one in mine):,.0f} MB",
                ]
            )
    write_table(
        PAGE,
        header=["data", "technique", "epochs", "test accuracy", "minus fastai, paired", "seconds", "peak memory"],
        rows=rows,
        note=f"Mean ± sd over {len(SEEDS)} seeds; seconds of training with all that it needs, ours with the "
        f"proof. {torch.get_num_threads()} threads. fastai {metadata.version('fastai')}.",
    )


def _paired_t(gaps: list[float]) -> float:
    spread_of = stdev(gaps)
    return mean(gaps) / (spread_of / sqrt(len(gaps))) if spread_of else 0.0


def _measured(where: str, arm: str, seed: int) -> dict[str, float]:
    """Give what a run of its own process found, or what it found before."""
    file = RUNS / f"{where} {arm} {seed}.json"
    if not file.is_file():
        RUNS.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, "--one", where, arm, str(seed)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        file.write_text(said.strip().splitlines()[-1])
    found: dict[str, float] = json.loads(file.read_text())
    print(f"{where}, {arm}, seed {seed}: {found}", flush=True)
    return found


def _one(where: str, arm: str, seed: int) -> dict[str, float]:
    build, epochs = SETS[where]
    if arm == PEER:
        return _fastai(build({"technique": {**ARMS["frozen"], "epochs": epochs}}, seed), epochs=epochs)
    recipe = build({"technique": {**ARMS[arm], "epochs": epochs}}, seed)
    with tempfile.TemporaryDirectory() as folder:
        changes: dict[str, Any] = {"replay": {"dir": f"{folder}/store"}}
        if arm == "from scratch":
            changes |= {"model": {"name": recipe.model.name, "weights": "none"}, "norm": "eval"}
        begun = perf_counter()
        record = finetune(_changed(recipe, changes), out=Path(folder) / "run")
        seconds = (
            perf_counter() - begun - record.seconds["evaluation"]
        )  # of the test set, which fastai's leave out, too
    return {
        "accuracy": record.evaluations[0].metrics["accuracy"],
        "seconds": seconds,
        "peak_mb": record.peak_rss_mb,
    }


def _changed(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """Give a recipe with a technique in place of phases; what is not written stays so: a technique fills it in."""
    words = recipe.model_dump(mode="json", exclude_unset=True)
    words.pop("phases", None)
    return Recipe.model_validate({**words, **changes})


class Pairs(Dataset[tuple[torch.Tensor, int]]):
    """Pictures and labels as fastai takes them, without the places that ours have beside them."""

    def __init__(self, pictures: Dataset[Any]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)  # type: ignore[arg-type]

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        image, label, _ = self.pictures[place]
        return image, label


def _fastai(recipe: Recipe, *, epochs: int) -> dict[str, float]:
    """Train the network of a recipe as fastai's documentation shows: one epoch of the head, then all of it."""
    import fastai.callback.schedule  # noqa: F401 - it gives learners `fine_tune`
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.torch_core import params

    begun = perf_counter()
    runtime = Runtime(device="cpu", seed=recipe.seed)
    assembly: Assembly = assemble(expanded(recipe, lambda: stage_names(recipe)))
    network = assembly.model
    head = set(assembly.outline.stages[-1].parameters)
    ((_, plain),) = named_parts(assembly.task.loader(assembly.data.train))
    train = plain.dataset

    def split(model: nn.Module) -> list[list[nn.Parameter]]:
        chosen = {id(one) for name, one in model.named_parameters() if name in head}
        every = params(model)
        return [[one for one in every if id(one) not in chosen], [one for one in every if id(one) in chosen]]

    order = torch.Generator().manual_seed(recipe.seed)
    loader = DataLoader(Pairs(train), batch_size=recipe.batch_size, shuffle=True, drop_last=False, generator=order)
    learner = Learner(DataLoaders(loader, []), network, loss_func=nn.CrossEntropyLoss(), splitter=split)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs - 1)
    seconds = perf_counter() - begun
    if assembly.data.test is None:
        sys.exit("the split has no test set")
    judged, _ = evaluate(network, assembly.data.test, task=assembly.task, runtime=runtime, split="test")
    return {"accuracy": judged.metrics["accuracy"], "seconds": seconds, "peak_mb": peak_rss_mb()}


if __name__ == "__main__":
    main()
