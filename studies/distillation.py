"""MobileNetV2 teaches a network a tenth its size on TrashNet: what it is worth, and what storing its scores saves.

    python studies/distillation.py        # or `make table-distillation`; half an hour; needs ../shared/data

Worth: five seeds, each its own split of 50 pictures a class for training and the other 20 for test, which all arms
share; the last epoch counts, and nothing is chosen on the test set. Speed: the same run with `replay: auto` and `off`,
in turns. Results are kept in runs/distillation.jsonl as they come; --resume keeps those there.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from torch import nn
from torchvision.models.resnet import BasicBlock
from torchvision.ops import Conv2dNormActivation

from frostline.recipe import Recipe, finetune
from frostline.record import RunRecord
from kept import Kept, Words
from tables import spread, write_table
from trashnet import LAST_STAGE, ROOT, SHARED, trashnet_recipe

PAGE = ROOT / "docs/studies/distillation.md"
KEPT = ROOT / "runs/distillation.jsonl"
SEEDS, TURNS = range(5), range(3)
TESTED = 120
EPOCHS, FAST_EPOCHS, LR = 60, 20, 2e-3
# What a student looks at where its worth is measured, and what its teacher does, which both do where time is.
STUDENT_PX, TEACHER_PX = 96, 160


def student() -> nn.Module:
    """A residual network of three blocks, as ResNet-18's."""
    return nn.Sequential(
        Conv2dNormActivation(3, 16, 3, 2),
        *(_halving(*channels) for channels in ((16, 32), (32, 64), (64, 96))),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(96, 6),
    )


def _halving(inside: int, outside: int) -> nn.Module:
    shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, 2, bias=False), nn.BatchNorm2d(outside))
    block: nn.Module = BasicBlock(inside, outside, stride=2, downsample=shortcut)
    return block


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
    """Train a teacher, and the student with it and without."""
    teacher = finetune(teacher_recipe(seed), out=folder / "teacher")
    found: Words = {"teacher": _outcome(teacher)}
    for arm, distill in (("alone", None), ("taught", {"teacher": str(folder / "teacher")})):
        changes = {"distill": distill, "replay": {"dir": str(folder / "store")}}
        recipe = student_recipe(seed, epochs=EPOCHS, size_px=STUDENT_PX, changes=changes)
        found[arm] = _outcome(finetune(recipe, out=folder / arm))
    return found


def speed(turn: int, folder: Path) -> Words:
    """Train the student with a teacher that is stored, and with one that is computed for each batch."""
    finetune(teacher_recipe(0), out=folder / "teacher")
    found: Words = {}
    for use in ("auto", "off") if turn % 2 == 0 else ("off", "auto"):
        replay = {"use": use, "dir": str(folder / "store")}
        changes = {"distill": {"teacher": str(folder / "teacher")}, "replay": replay}
        recipe = student_recipe(0, epochs=FAST_EPOCHS, size_px=TEACHER_PX, changes=changes)
        found[use] = _outcome(finetune(recipe, out=folder / use))
    return found


def _alone(make: Callable[[int, Path], Words], number: int) -> Words:
    """Make a result in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return make(number, Path(folder))


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


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description="Distillation on TrashNet.")
    parser.add_argument("--resume", action="store_true", help="keep what runs/distillation.jsonl has")
    resume = parser.parse_args().resume
    if not SHARED.is_dir():
        sys.exit(f"{SHARED} is not here: this study needs its pictures and weights")
    kept = Kept(KEPT, resume=resume)
    timed = [kept.get({"kind": "speed", "number": turn}, partial(_alone, speed, turn)) for turn in TURNS]
    tried = [kept.get({"kind": "worth", "number": seed}, partial(_alone, worth, seed)) for seed in SEEDS]
    every = {arm: [one[arm] for one in tried] for arm in ("teacher", "alone", "taught")}
    whole, size = (every[arm][0]["parameters"] for arm in ("teacher", "alone"))
    gained = [
        after["accuracy"] - before["accuracy"] for after, before in zip(every["taught"], every["alone"], strict=True)
    ]
    seconds = {use: [one[use]["seconds"] for one in timed] for use in ("auto", "off")}
    faster = median(off / auto for off, auto in zip(seconds["off"], seconds["auto"], strict=True))
    apart = max(abs(a - b) for one in timed for a, b in zip(one["auto"]["losses"], one["off"]["losses"], strict=True))
    write_table(
        PAGE,
        header=["", "parameters", "test accuracy", "minus alone, paired"],
        rows=[
            ["teacher: last stage and head", f"{whole:,}", _spread(every["teacher"]), ""],
            ["student alone", f"{size:,} ({size / whole:.1%})", _spread(every["alone"]), ""],
            ["student, taught", f"{size:,} ({size / whole:.1%})", _spread(every["taught"]), spread(gained)],
        ],
        note=f"{TESTED} test pictures, mean ± sd over {len(SEEDS)} seeds, the student {EPOCHS} epochs at {STUDENT_PX} "
        f"pixels; better with a teacher in {sum(gain > 0 for gain in gained)} seeds, worse in "
        f"{sum(gain < 0 for gain in gained)}. Speed: {FAST_EPOCHS} epochs at {TEACHER_PX} pixels take "
        f"{median(seconds['auto']):.1f} s with stored scores, recording and proofs included, and "
        f"{median(seconds['off']):.1f} s with a teacher that is computed for each batch, {faster:.2f} times as long "
        f"(medians of {len(TURNS)} turns); the losses of all epochs differ by {apart:.1e} at most.",
    )


def _spread(outcomes: list[Words]) -> str:
    return spread([one["accuracy"] for one in outcomes])


if __name__ == "__main__":
    main()
