"""MobileNetV2 teaches a network a tenth its size on TrashNet: what it is worth, and what storing its scores saves.

    python studies/distillation.py        # or `make table-distillation`; half an hour; needs ../shared/data

Worth: five seeds, each its own split of 50 pictures a class for training and the other 20 for test, which all arms
share; the last epoch counts, and nothing is chosen on the test set. Speed: the same run with `replay: auto` and `off`,
in turns. Results are kept in runs/distillation.jsonl as they come; --resume keeps those there.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import Any

from torch import nn
from torchvision.models import mobilenet_v2

from frostline.recipe import Recipe, finetune
from frostline.record import RunRecord
from tables import spread, write_table
from trashnet import LAST_STAGE, ROOT, SHARED, trashnet_recipe

PAGE = ROOT / "docs/studies/distillation.md"
KEPT = ROOT / "runs/distillation.jsonl"
SEEDS, TURNS = range(5), range(3)
EPOCHS, FAST_EPOCHS, LR = 60, 10, 2e-3
# What a student looks at where its worth is measured, and what its teacher does, which both do where time is.
STUDENT_PX, TEACHER_PX = 96, 160

Words = dict[str, Any]


def student() -> nn.Module:
    """A MobileNetV2 with less than a quarter of the channels, and a tenth of the parameters."""
    network: nn.Module = mobilenet_v2(width_mult=0.22)
    return network


def teacher_recipe(seed: int) -> Recipe:
    """Give the recipe of the teacher: last stage and head of an ImageNet network."""
    return trashnet_recipe({"phases": LAST_STAGE, "norm": "refill"}, seed)


def student_recipe(seed: int, *, epochs: int, size_px: int, changes: Words) -> Recipe:
    """Give the recipe of the student: all of a small network, from scratch."""
    phases = [{"epochs": epochs, "freeze": "none", "lr": LR}]
    words = trashnet_recipe({"phases": phases, "warmup": 2}, seed).model_dump(mode="json")
    words["data"]["size"] = size_px
    return Recipe.model_validate({**words, "model": {"name": f"{Path(__file__)}:student"}, **changes})


def worth(seed: int, folder: Path) -> Words:
    """Train a teacher, and a student with it and without."""
    teacher = finetune(teacher_recipe(seed), out=folder / "teacher")
    found: Words = {"teacher": _outcome(teacher)}
    for arm, distill in (("alone", None), ("taught", {"teacher": str(folder / "teacher")})):
        changes = {"distill": distill, "replay": {"dir": str(folder / "store")}}
        recipe = student_recipe(seed, epochs=EPOCHS, size_px=STUDENT_PX, changes=changes)
        found[arm] = _outcome(finetune(recipe, out=folder / arm))
    return found


def speed(turn: int, folder: Path) -> Words:
    """Train a student whose teacher is stored, and one whose teacher is computed for each batch."""
    finetune(teacher_recipe(0), out=folder / "teacher")
    found: Words = {}
    for use in ("auto", "off") if turn % 2 == 0 else ("off", "auto"):
        replay = {"use": use, "dir": str(folder / "store")}
        changes = {"distill": {"teacher": str(folder / "teacher")}, "replay": replay}
        recipe = student_recipe(0, epochs=FAST_EPOCHS, size_px=TEACHER_PX, changes=changes)
        found[use] = _outcome(finetune(recipe, out=folder / use))
    return found


def _outcome(record: RunRecord) -> Words:
    if record.teacher and not record.teacher["proof"]["ok"]:
        sys.exit(f"the teacher was not held: {record.teacher['proof']['line']}")
    return {
        "accuracy": record.evaluations[0].metrics["accuracy"],
        "losses": [epoch.train_loss for epoch in record.epochs],
        # All that the teacher costs is in it: recording in the one, its forward passes in the other.
        "seconds": record.seconds["total"] - record.seconds["preparation"] - record.seconds["evaluation"],
        "parameters": record.parameters["total"],
    }


def _kept(kind: str, number: int, make: Callable[[int, Path], Words], known: list[Words]) -> Words:
    """Give a result that is known, or make it and keep it."""
    there = next((one for one in known if (one["kind"], one["number"]) == (kind, number)), None)
    if there is not None:
        return there
    with tempfile.TemporaryDirectory() as folder:
        found = {"kind": kind, "number": number, **make(number, Path(folder))}
    with KEPT.open("a", encoding="utf-8") as file:
        file.write(json.dumps(found) + "\n")
    print(kind, number, {arm: words["accuracy"] for arm, words in found.items() if isinstance(words, dict)}, flush=True)
    return found


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description="Distillation on TrashNet.")
    parser.add_argument("--resume", action="store_true", help="keep what runs/distillation.jsonl has")
    resume = parser.parse_args().resume
    if not SHARED.is_dir():
        sys.exit(f"{SHARED} is not here: this study needs its pictures and weights")
    KEPT.parent.mkdir(exist_ok=True)
    if not resume:
        KEPT.unlink(missing_ok=True)
    known = [json.loads(line) for line in KEPT.read_text().splitlines()] if KEPT.exists() else []
    timed = [_kept("speed", turn, speed, known) for turn in TURNS]
    tried = [_kept("worth", seed, worth, known) for seed in SEEDS]
    sizes = {arm: tried[0][arm]["parameters"] for arm in ("teacher", "alone")}
    every = {arm: [one[arm]["accuracy"] for one in tried] for arm in ("teacher", "alone", "taught")}
    gained = [taught - alone for taught, alone in zip(every["taught"], every["alone"], strict=True)]
    apart = max(abs(a - b) for one in timed for a, b in zip(one["auto"]["losses"], one["off"]["losses"], strict=True))
    seconds = {use: median(one[use]["seconds"] for one in timed) for use in ("auto", "off")}
    faster = median(one["off"]["seconds"] / one["auto"]["seconds"] for one in timed)
    share = sizes["alone"] / sizes["teacher"]
    write_table(
        PAGE,
        header=["", "parameters", "test accuracy", "minus alone, paired"],
        rows=[
            ["teacher: last stage and head", f"{sizes['teacher']:,}", spread(every["teacher"]), ""],
            ["student alone", f"{sizes['alone']:,} ({share:.1%})", spread(every["alone"]), ""],
            ["student, taught", f"{sizes['alone']:,} ({share:.1%})", spread(every["taught"]), spread(gained)],
        ],
        note=f"120 test pictures, mean ± sd over {len(SEEDS)} seeds, student {EPOCHS} epochs. Better with a teacher "
        f"in {sum(gain > 0 for gain in gained)} of {len(gained)} seeds, by {mean(gained):+.3f}. Speed: {FAST_EPOCHS} "
        f"epochs at {TEACHER_PX} pixels take {seconds['auto']:.1f} s with stored scores, recording included, and "
        f"{seconds['off']:.1f} s with a teacher that is computed for each batch, {faster:.2f} times as long (medians "
        f"of {len(TURNS)} turns); losses differ by {apart:.1e} at most.",
    )


if __name__ == "__main__":
    main()
