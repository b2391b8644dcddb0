"""TrashNet with an ImageNet MobileNetV2: head only, last stage, logistic regression; `make table-trashnet`.

Needs ../shared/data. 50 pictures of each of six classes for training, the other 20 for test, five seeds, each its own
split, which all arms share; nothing is chosen on the test set, and the last epoch counts.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from time import perf_counter

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from frostline.data import Samples
from frostline.recipe import Recipe, assemble, finetune
from frostline.tasks import Task
from tables import spread, write_table

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared/data"
PAGE = ROOT / "docs/studies/trashnet.md"
SEEDS = range(5)
LAST_STAGE = [
    {"epochs": 8, "freeze": "all", "lr": 3e-3},
    {"epochs": 5, "freeze": {"through": "stage4"}, "lr": 3e-4},
]
ARMS: dict[str, dict[str, object]] = {
    "head only": {
        "phases": [{"epochs": 20, "freeze": "all", "lr": 3e-3}],
        # A regression on 1280 features from 300 pictures wants to be held back, as scikit-learn's is.
        "optimizer": {"name": "adamw", "weight_decay": 1.0},
    },
    "last stage, BatchNorm refilled": {"phases": LAST_STAGE, "norm": "refill"},
    "last stage, BatchNorm as it came": {"phases": LAST_STAGE},
}


def main() -> None:
    """Measure and write the table."""
    if not SHARED.is_dir():
        sys.exit(f"{SHARED} is not here: this study needs its pictures and weights")
    rows = []
    logistic = [_logistic(seed) for seed in SEEDS]
    for name, changes in ARMS.items():
        runs = [_run(changes, seed) for seed in SEEDS]
        accuracies = [accuracy for accuracy, _, _ in runs]
        paired = [ours - theirs for ours, theirs in zip(accuracies, logistic, strict=True)]
        rows.append(
            [name, f"{runs[0][2]:,}", spread(accuracies), spread(paired), f"{mean(s for _, s, _ in runs):.0f} s"]
        )
    rows.append(["logistic regression on the frozen features", "", spread(logistic), "", ""])
    write_table(
        PAGE,
        header=["", "trained parameters", "test accuracy", "minus logistic regression, paired", "seconds a run"],
        rows=rows,
        note=f"120 test pictures, mean ± sd over {len(SEEDS)} seeds.",
    )


def trashnet_recipe(changes: dict[str, object], seed: int) -> Recipe:
    """Give the recipe that all arms of the studies on these pictures share."""
    return Recipe.model_validate(
        {
            "task": "images",
            "data": {
                "train": str(SHARED / "images/trashnet"),
                "per_class": 50,
                "val": None,
                "test": "rest",
                "size": 160,
                "normalize": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
            },
            "model": {
                "name": "torchvision/mobilenet_v2",
                "weights": str(SHARED / "weights/mobilenet_v2_imagenet.safetensors"),
            },
            "seed": seed,
            **changes,
        }
    )


def _run(changes: dict[str, object], seed: int) -> tuple[float, float, int]:
    """Give test accuracy, seconds and trained parameters of one run."""
    with tempfile.TemporaryDirectory() as folder:
        begun = perf_counter()
        record = finetune(trashnet_recipe(changes, seed), out=Path(folder) / "run")
    return record.evaluations[0].metrics["accuracy"], perf_counter() - begun, record.parameters["trained"]


def _logistic(seed: int) -> float:
    """Test accuracy of scikit-learn's logistic regression on what the frozen network computes."""
    assembly = assemble(trashnet_recipe(ARMS["head only"], seed))
    if assembly.data.test is None:
        sys.exit("the split has no test set")
    train_NF, test_NF = (
        _features(assembly.model, assembly.task, part) for part in (assembly.data.train, assembly.data.test)
    )
    model = LogisticRegression(max_iter=5_000).fit(train_NF, assembly.data.train.labels)
    return float(model.score(test_NF, assembly.data.test.labels))


@torch.no_grad()
def _features(model: nn.Module, task: Task, samples: Samples) -> Tensor:
    """Give what enters the classifier, N × 1280."""
    seen: list[Tensor] = []

    def keep(_: nn.Module, inputs: Sequence[Tensor]) -> None:
        seen.append(inputs[0])

    hook = model.get_submodule("classifier.1").register_forward_pre_hook(keep)
    model.eval()
    for images_NCHW in task.inputs(samples):
        model(images_NCHW)
    hook.remove()
    return torch.cat(seen)


if __name__ == "__main__":
    main()
