"""Digits, 10, 20 and 50 pictures a class: frozen transfer, from scratch, an SVC; `make table-digits`.

Everything not trained on is the test set, nothing is chosen on it, and the last epoch counts. Five seeds, each its own
split, which all three share.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
from sklearn.svm import SVC

from frostline.data import Samples
from frostline.recipe import finetune, load_recipe
from frostline.recipe.data import gather
from tables import spread, write_table

PAGE = Path(__file__).resolve().parent.parent / "docs/studies/digits.md"
PER_CLASS = (10, 20, 50)
SEEDS = range(5)
# From scratch everything is trained, for twice as many epochs.
SCRATCH = ["model.weights=none", "phases=[{epochs: 100, freeze: none, lr: 3e-3}]"]


def main() -> None:
    """Measure and write the table."""
    rows = []
    for per_class in PER_CLASS:
        common = [f"data.per_class={per_class}", "data.val=null"]
        frozen, frozen_seconds = zip(*_accuracies(common), strict=True)
        scratch, scratch_seconds = zip(*_accuracies([*common, *SCRATCH]), strict=True)
        svc = [_svc([*common, f"seed={seed}"]) for seed in SEEDS]
        rows.append(
            [
                str(per_class),
                f"{spread(frozen)} ({sum(frozen_seconds) / len(SEEDS):.1f} s)",
                f"{spread(scratch)} ({sum(scratch_seconds) / len(SEEDS):.1f} s)",
                spread(svc),
            ]
        )
    write_table(
        PAGE,
        header=["pictures a class", "frozen transfer", "from scratch", "SVC(C=10)"],
        rows=rows,
        note=f"Test accuracy, mean ± sd over {len(SEEDS)} seeds; in brackets seconds a run, training and proof.",
    )


def _accuracies(overrides: list[str]) -> Iterator[tuple[float, float]]:
    """Yield test accuracy and seconds of one run a seed."""
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            begun = perf_counter()
            record = finetune(load_recipe("digits", overrides=[*overrides, f"seed={seed}"]), out=Path(folder) / "run")
            yield record.evaluations[0].metrics["accuracy"], perf_counter() - begun


def _svc(overrides: list[str]) -> float:
    """Test accuracy of a support vector machine on the same pixels (0 … 16) and split."""
    data = gather(load_recipe("digits", overrides=overrides)).parts
    if data.test is None:
        raise SystemExit("the recipe digits has no test set")
    machine = SVC(C=10).fit(_pixels(data.train), data.train.labels)
    return float(machine.score(_pixels(data.test), data.test.labels))


def _pixels(samples: Samples) -> np.ndarray:
    """Give the pixels N × 64, values 0 … 16 as scikit-learn has them."""
    return np.asarray(samples.pixels).reshape(len(samples), -1) * 16


if __name__ == "__main__":
    main()
