"""How deep to freeze a MobileNetV2 on TrashNet: every depth, three seeds, with and without replay; and a sweep of 20.

    python studies/ablation.py                 # or `make table-ablation`; needs ../shared/data; about 40 minutes
    python studies/ablation.py --only computed # one part, for a core of its own; the table is made when all are there

Parts are kept in runs/ablation. The ceiling is what the parts allow: what every run does beside its steps, as without
replay; one pass over the samples; and the steps of what is trained alone, timed by hand on tensors in memory.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from frostline.ablation import Question, ablate
from frostline.recipe import Recipe, assemble, stage_names
from frostline.record import AblationRecord, read_ablation, read_record
from frostline.report import arms_of
from frostline.training.allocator import keep_freed_memory
from tables import write_table

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared/data"
PAGE = ROOT / "docs/studies/ablation.md"
RUNS = ROOT / "runs/ablation"
EPOCHS, SEEDS, RATE = 6, 3, 1e-3
SWEEP_DEPTH, SWEEP_RATES, SWEEP_SEEDS = "stage4", ["1e-4", "3e-4", "1e-3", "3e-3"], 5
BATCH = 32


def recipe(*, replay: str) -> Recipe:
    """Say what all runs have in common."""
    store = {"use": replay, "dir": str(RUNS / f"store-{replay}")} if replay == "auto" else "off"
    words: dict[str, Any] = {
        "task": "images",
        "data": {"train": str(SHARED / "images/trashnet"), "val": 0.2, "test": 0.2, "size": 224},
        "model": {
            "name": "torchvision/mobilenet_v2", "weights": str(SHARED / "weights/mobilenet_v2_imagenet.safetensors"),
        },
        "norm": "refill",
        "phases": [{"epochs": EPOCHS, "freeze": "all", "lr": RATE}],
        "batch_size": BATCH,
        "replay": store,
    }  # fmt: skip
    return Recipe.model_validate(words)


def depths(out: Path, *, replay: str) -> dict[str, Any]:
    """Ablate every depth, from nothing, and say what it took."""
    asked = recipe(replay=replay)
    question = Question.asked(asked, stage_names=lambda: stage_names(asked), depths=["all"], seeds=SEEDS)
    return _timed(question, out)


def sweep(out: Path) -> dict[str, Any]:
    """Try rates and seeds at one depth, from nothing, and say what it took."""
    asked = recipe(replay="auto")
    asked = asked.model_copy(update={"replay": asked.replay.model_copy(update={"dir": str(RUNS / "store-sweep")})})
    over = {"phases.0.freeze": [f"{{through: {SWEEP_DEPTH}}}"], "phases.0.lr": SWEEP_RATES}
    return _timed(Question.asked(asked, stage_names=lambda: stage_names(asked), over=over, seeds=SWEEP_SEEDS), out)


def _timed(question: Question, out: Path) -> dict[str, Any]:
    if question.recipe.replay.dir is not None:
        shutil.rmtree(question.recipe.replay.dir, ignore_errors=True)
    shutil.rmtree(out, ignore_errors=True)
    begun = perf_counter()
    ablate(question, out=out)
    return {"seconds": perf_counter() - begun}


def by_hand() -> dict[str, Any]:
    """Time the parts of a run by hand: a pass over the samples, and an epoch of what each depth trains."""
    keep_freed_memory()  # as a run does
    assembly = assemble(recipe(replay="off"))
    model: Any = assembly.model.eval().to(memory_format=torch.channels_last)
    task, val = assembly.task, assembly.data.val
    if val is None:
        raise ValueError("the recipe has validation")
    begun = perf_counter()
    samples = [batch for part in (assembly.data.train, val) for batch in task.loader(part)]
    read_seconds = perf_counter() - begun
    images = [images.contiguous(memory_format=torch.channels_last) for images, _, _ in samples]
    labels = [labels for _, labels, _ in samples]
    # Batches of the training samples come first.
    count = len(task.loader(assembly.data.train))
    with torch.no_grad():
        passes, epochs = {}, {}
        for depth, held in _held_layers(assembly).items():
            values = [model.features[:held](one) for one in images]
            passes[depth] = _median_of_three(lambda: [model.features[:held](one) for one in images])  # noqa: B023
            if depth == "freeze_all":
                values = [one.mean((2, 3)) for one in values]
            behind: nn.Module = model.classifier if depth == "freeze_all" else _Behind(model, held)
            with torch.enable_grad():
                epochs[depth] = _median_of_three(lambda: _epoch(behind, values, labels, count=count))  # noqa: B023
    return {"read": read_seconds, "passes": passes, "epochs": epochs}


class _Behind(nn.Module):
    """What of a MobileNetV2 lies behind its first layers."""

    def __init__(self, model: Any, held: int) -> None:
        super().__init__()
        self.features, self.classifier = model.features[held:], model.classifier

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return scores


def _held_layers(assembly: Any) -> dict[str, int]:
    """Say how many of the network's features are held at each depth."""
    found, held = {}, 0
    stages = [stage for stage in assembly.outline if stage.name != "head"]
    for stage in stages:
        held = max(int(layer.name.split(".")[1]) for layer in stage.layers) + 1
        found["freeze_all" if stage is stages[-1] else f"freeze_through_{stage.name}"] = held
    return found


def _epoch(behind: nn.Module, values: list[Tensor], labels: list[Tensor], *, count: int) -> None:
    """Train on the first batches, and judge by the others."""
    behind.train()
    optimizer = torch.optim.AdamW(behind.parameters(), lr=1e-5)
    for x, y in list(zip(values, labels, strict=True))[:count]:
        optimizer.zero_grad()
        torch.autograd.backward(cross_entropy(behind(x.clone()), y))
        optimizer.step()
    behind.eval()
    with torch.no_grad():
        for x in values[count:]:
            behind(x)


def _median_of_three(act: Callable[[], Any]) -> float:
    taken = []
    for _ in range(3):
        begun = perf_counter()
        act()
        taken.append(perf_counter() - begun)
    return median(taken)


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "computed": lambda: depths(RUNS / "computed", replay="off"),
    "replayed": lambda: depths(RUNS / "replayed", replay="auto"),
    "by hand": by_hand,
    "sweep": lambda: sweep(RUNS / "sweep"),
}


def main() -> None:
    """Make the parts that are missing, each in a process of its own, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=PARTS, help="make one part, and no table")
    asked = parser.parse_args()
    if not SHARED.is_dir():
        sys.exit(f"{SHARED} is not here: this study needs its pictures and weights")
    RUNS.mkdir(parents=True, exist_ok=True)
    if asked.only is not None:
        _kept(asked.only).write_text(json.dumps(PARTS[asked.only]()))
        return
    for part in PARTS:
        if not _kept(part).is_file():
            subprocess.run([sys.executable, __file__, "--only", part], check=True)
    found = {part: json.loads(_kept(part).read_text()) for part in PARTS}
    _write(found)


def _kept(part: str) -> Path:
    return RUNS / f"{part.replace(' ', '-')}.json"


def _write(found: dict[str, Any]) -> None:
    record = {part: read_ablation(RUNS / part) for part in ("computed", "replayed", "sweep")}
    seconds = {part: found[part]["seconds"] for part in record}
    arms = {part: arms_of(record[part], RUNS / part) for part in ("computed", "replayed")}
    header, rows = arms["replayed"].as_rows()
    computed = [one.seconds.mean for one in arms["computed"].results]
    hand = found["by hand"]["epochs"]
    table = [
        [*row[:5], f"{taken:.0f} s", row[6], f"{hand[row[0]]:.2f} s" if row[0] in hand else ""]
        for row, taken in zip(rows, computed, strict=True)
    ]
    header = [*header[:5], "seconds a run, computed", "replayed", "an epoch by hand"]
    times = seconds["computed"] / seconds["replayed"]
    most = seconds["computed"] / _ceiling(record["computed"], found["by hand"])
    swept, depth = len(record["sweep"].runs), f"freeze_through_{SWEEP_DEPTH}"
    alone = found["by hand"]["read"] + found["by hand"]["passes"][depth] + swept * EPOCHS * hand[depth]
    note = (
        f"{SEEDS} seeds, {EPOCHS} epochs, 252 pictures to train on, 84 to test. All runs: "
        f"{seconds['computed']:.0f} s computed, {seconds['replayed']:.0f} s replayed: {times:.2f} times as fast; "
        f"the parts allow {most:.2f}, so it is {times / most:.2f} of that. "
        f"A sweep of {swept} rates and seeds through {SWEEP_DEPTH}: {seconds['sweep']:.0f} s, where one pass over "
        f"the samples and its steps take {alone:.0f} s: {seconds['sweep'] / alone:.2f} times that."
    )
    write_table(PAGE, header=header, rows=table, note=note)


def _ceiling(computed: AblationRecord, hand: dict[str, Any]) -> float:
    """Say what all runs would take if what is held cost one pass, and nothing else of it anything."""
    total = float(hand["read"] + hand["passes"]["freeze_all"])
    for run in computed.runs:
        record = read_record(RUNS / "computed/runs" / run.name)
        steps = sum(epoch.seconds for epoch in record.epochs)
        if run.arm not in hand["epochs"]:
            total += record.seconds["total"]
            continue
        # What is judged by at the end can be looked up, too.
        beside = record.seconds["total"] - record.seconds["evaluation"] - steps
        total += beside + EPOCHS * hand["epochs"][run.arm]
    return total


if __name__ == "__main__":
    main()
