"""The recipe of the tests of the loop, and the loop by hand that they compare it with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from frostline.recipe import assemble, load_recipe
from training.tiny import Twin, read_pictures, train_by_hand

SEED = 3
# What `through: stem` leaves to train, with the weight decay of each: norms and biases have none.
TRAINED = {"conv2.weight": 1.0, "bn2.weight": 0.0, "bn2.bias": 0.0, "fc.weight": 1.0, "fc.bias": 0.0}
EPOCHS = 3
STEPS = 5  # 18 pictures in batches of 4


def by_hand(
    recipe_file: Path,
    twin: Twin,
    *,
    optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer],
    lr: Callable[[int], float],
    decay: float = 0.0,
    epochs: int = EPOCHS,
    phase: int = 1,
    **more: Any,
) -> torch.optim.Optimizer:
    samples = assemble(load_recipe(str(recipe_file))).data.train
    return train_by_hand(
        twin,
        images=read_pictures(samples.paths),
        labels=torch.from_numpy(samples.labels),
        trained={name: factor * decay for name, factor in TRAINED.items()},
        optimizer=optimizer,
        lr=lr,
        epochs=epochs,
        order_seed=SEED + phase,
        **more,
    )


def phases(**changes: Any) -> list[dict[str, Any]]:
    return [{"epochs": EPOCHS, "freeze": {"through": "stem"}, "lr": 0.05, **changes}]
