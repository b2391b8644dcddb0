"""Is what `frostline recommend` says right? Every technique on small sets, three seeds each, and the advice for them.

    python studies/recommendation.py           # or `make table-recommendation`; needs ../shared/data; about an hour

The thresholds of the advice were chosen on the sets of MADE_FROM; those of JUDGED were looked at afterwards. Runs are
kept in runs/recommendation, and made where they are missing.
"""

import sys
from pathlib import Path
from typing import Any

from banking77 import labelled, pretrained, split
from frostline.ablation import Arm, Question, ablate
from frostline.recipe import Recipe
from frostline.recommendation import judge, recommend
from frostline.record import PlannedRun
from frostline.report import arms_of, said_apart
from small_sets import plates_by_state, road_users
from tables import write_table

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared/data"
KEPT = ROOT / "runs/recommendation"
PAGE = ROOT / "docs/studies/recommendation.md"
SEEDS = (0, 1, 2)
# As in the other studies: docs/studies/techniques.md, docs/studies/banking77.md.
RATES = {"frozen": 3e-3, "few_shot": 1e-3, "gradual": 1e-3, "discriminative": 3e-3, "lora": 3e-3, "full": 3e-4}
RATES_OF_TEXTS = {"frozen": 3e-3, "few_shot": 3e-3, "gradual": 3e-3, "discriminative": 1e-2, "lora": 3e-3, "full": 1e-3}
IMAGENET = {
    "name": "torchvision/mobilenet_v2", "weights": str(SHARED / "weights/mobilenet_v2_imagenet.safetensors"),
}  # fmt: skip


def photographs(folder: Path, *, epochs: int, **data: Any) -> dict[str, Any]:
    """A set of pictures for a network that knows ImageNet."""
    return {
        "task": "images",
        "data": {"train": str(folder), "val": None, "size": 96, **data},
        "model": IMAGENET,
        "norm": "refill",
        "epochs": epochs,
    }


def questions(per_class: int, *, epochs: int) -> dict[str, Any]:
    """BANKING77 for a small BERT that knows the words of its texts."""
    return {**labelled(split(0), per_class, weights=str(pretrained(0))), "warmup": 1, "epochs": epochs}


def cases() -> dict[str, dict[str, Any]]:
    """Say what is tried: the sets that the advice was made from first."""
    faces = SHARED / "faces/orl"
    digits = {"train": "builtin/digits", "per_class": 20, "val": None, "test": "rest"}
    return {
        "road users": photographs(road_users(KEPT / "sets/road users"), epochs=20, test=0.4),
        "plates by state": photographs(plates_by_state(KEPT / "sets/plates by state"), epochs=20, test=0.4),
        "digits": {
            "task": "images",
            "data": digits,
            "model": {"name": "frostline/glyph_resnet", "weights": "pretrained"},
            "epochs": 30,
        },
        "TrashNet": photographs(SHARED / "images/trashnet", epochs=20, test=0.3),
        "ORL, 3 a person": photographs(faces, epochs=30, test=0.5, per_class=3),
        "ORL, 5 a person": photographs(faces, epochs=30, test=0.5, per_class=5),
        "BANKING77, 5 a class": questions(5, epochs=40),
        "BANKING77, 20 a class": questions(20, epochs=20),
    }


MADE_FROM = ("road users", "plates by state")
HEADER = ("set", "classes", "samples", "probe", *RATES, "advice", "best", "advice minus best", "right")


def question(words: dict[str, Any]) -> Question:
    """Ask for every technique on a set, each at its own rate, and all for the same epochs."""
    words = dict(words)
    epochs, rates = words.pop("epochs"), RATES_OF_TEXTS if words["task"] == "text" else RATES
    recipe = Recipe.model_validate({**words, "technique": "full", "replay": {"dir": str(KEPT / "store")}})
    arms = tuple(
        Arm(name=name, changes=(f"technique={{name: {name}, epochs: {epochs}, lr: {lr}}}",), is_baseline=name == "full")
        for name, lr in rates.items()
    )
    return Question(recipe=recipe, written_out=recipe, arms=arms, seeds=SEEDS)


def main() -> None:
    """Make the runs that are missing, ask for advice, and write the table."""
    if not SHARED.is_dir():
        sys.exit(f"{SHARED} is not here: this study needs its pictures and texts")
    rows, right = [], []
    for name, words in cases().items():
        asked = question(words)
        record = ablate(asked, out=KEPT / name, tell=tell)
        found, arms = recommend(asked.recipe), arms_of(record, KEPT / name)
        checked = judge(arms, found.advice.usual.technique)
        by_name = {one.arm.name: one for one in arms.results}
        probe = found.evidence.last.probe
        rows.append(
            (
                f"{name} *" if name in MADE_FROM else name,
                str(found.evidence.classes),
                f"{found.evidence.samples:,}",
                f"{probe.accuracy:.3f} ± {probe.error:.3f}",
                *(by_name[technique].scores.said(arms.say) for technique in RATES),
                checked.chosen,
                checked.best,
                "" if checked.apart is None else said_apart(checked.apart),
                "yes" if checked.right else "no",
            )
        )
        if name not in MADE_FROM:
            right.append(checked.right)
    note = (
        f"Right on {sum(right)} of the {len(right)} sets that it was not made from. Mean ± sd over {len(SEEDS)} seeds."
    )
    write_table(PAGE, header=HEADER, rows=rows, note=note)


def tell(run: PlannedRun, done: int, count: int) -> None:
    """Say that a run has ended."""
    print(f"{done} of {count}: {run.name} {run.status} {run.seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
