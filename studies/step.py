"""What a step of our loop costs beside a plain PyTorch step, batch 32; `make table-step`.

The same network, placed alike, the same pictures in memory, the same SGD, in turns in one process, by rounds in either
order: runs of four epochs of five steps. The first two epochs are left out on both sides: ours looks at gradients in
them. An epoch counts from its begin to the end of its last step, so that all its pictures are read within it.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import nn

from frostline.recipe import Recipe, assemble, finetune, load_recipe
from frostline.record import EpochRecord
from frostline.training import Runtime, Silent
from tables import write_table

PAGE = Path(__file__).resolve().parent.parent / "docs/studies/step.md"
ROUNDS = 4
EPOCHS = 4
LEFT_OUT = 2
BATCH = 32
NETWORKS = {"torchvision/resnet18": 224, "torchvision/mobilenet_v2": 96, "frostline/glyph_resnet": 8}


class Laps(Silent):
    """Takes the seconds of a step, mean over an epoch, for each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._begun, self._ended, self._steps = 0.0, 0.0, 0

    def step(self, *, epoch: int, loss: float) -> None:
        """Note the end of a step."""
        self._ended, self._steps = perf_counter(), self._steps + 1

    def epoch(self, record: EpochRecord) -> None:
        """Note the end of an epoch of ours, with all that comes behind its last step."""
        self.over(record.epoch)

    def over(self, number: int) -> None:
        """Note the end of an epoch: the next one begins."""
        if number > LEFT_OUT:
            self.seconds.append((self._ended - self._begun) / self._steps)
        self._begun, self._steps = perf_counter(), 0


def main() -> None:
    """Measure and write the table."""
    rows = []
    for network, size in NETWORKS.items():
        recipe = _recipe(network, size)
        ours: list[float] = []
        plain: list[float] = []
        ratios = []
        for number in range(ROUNDS):
            ways = (_ours, _plain) if number % 2 else (_plain, _ours)
            took = {way: list(way(recipe)) for way in ways}
            mine, theirs = took[_ours], took[_plain]
            ours, plain = [*ours, *mine], [*plain, *theirs]
            ratios.append(median(mine) / median(theirs))
        each = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        rows.append(
            [
                f"{network}, {size} px",
                f"{median(plain) * 1e3:.1f} ms",
                f"{median(ours) * 1e3:.1f} ms",
                f"{median(ratios):.3f}",
                each,
            ]
        )
        print(rows[-1], flush=True)
    write_table(
        PAGE,
        header=["network", "plain step", "our step", "ratio, median", "by round"],
        rows=rows,
        note=f"Medians of {len(ours)} epochs of each, {torch.get_num_threads()} threads.",
    )


def _recipe(network: str, size: int) -> Recipe:
    return load_recipe(
        "digits",
        overrides=[
            f"model={{name: {network}, weights: none}}",
            f"data={{train: builtin/digits, per_class: 16, val: null, size: {size}, test: 0.01}}",
            f"phases=[{{epochs: {EPOCHS}, freeze: none, lr: 1e-3}}]",
            "optimizer=sgd",
            "schedule=constant",
            "replay=off",
            f"batch_size={BATCH}",
        ],
    )


def _ours(recipe: Recipe) -> Iterator[float]:
    laps = Laps()
    with tempfile.TemporaryDirectory() as folder:
        finetune(recipe, out=Path(folder) / "run", show=laps)
    yield from laps.seconds


def _plain(recipe: Recipe) -> Iterator[float]:
    runtime = Runtime(device="cpu", seed=recipe.seed)
    assembly = assemble(recipe)
    model = runtime.place(assembly.model).train()
    loader = assembly.task.loader(assembly.data.train, seed=recipe.seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    cost, laps = nn.CrossEntropyLoss(), Laps()
    for epoch in range(1, EPOCHS + 1):
        summed = 0.0
        for images_NCHW, labels_N, _ in loader:
            optimizer.zero_grad()
            loss = cost(model(images_NCHW), labels_N)
            loss.backward()
            optimizer.step()
            summed += loss.item()
            laps.step(epoch=epoch, loss=summed)
        laps.over(epoch)
    yield from laps.seconds


if __name__ == "__main__":
    main()
