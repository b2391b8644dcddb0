"""Tiny runs for tests: class folders of pictures of 16 x 16, a network in a user's file, recipes of a second."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from frostline.recipe import Recipe, load_recipe

# Tensors this small gain nothing from threads, and on a busy machine the threads wait for each other.
torch.set_num_threads(1)

SIDE = 16
CLASSES = ("blue", "green", "red")
NETWORK = """
from torch import nn
from torch.nn import functional as F

MEAN = STD = (0.5, 0.5, 0.5)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 5)
        self.begin()

    def begin(self):
        pass

    def before(self):
        pass

    def between(self, x):
        return x

    def forward(self, x):
        self.before()
        x = self.between(F.relu(self.bn1(self.conv1(x))))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.fc(x.mean((2, 3)))
"""


def write_network(folder: Path, body: str = "") -> str:
    """Write a user's network, with some of its methods written anew, and name it as a recipe does."""
    lines = "".join(f"    {line}\n" for line in body.strip("\n").splitlines())
    path = folder / "net.py"
    path.write_text(f"import torch\nfrom torch import nn\n{NETWORK}\n{lines}")
    return f"{path}:Net"


def write_pictures(folder: Path, *, count: int = 8, classes: Sequence[str] = CLASSES, seed: int = 0) -> Path:
    """Write noise with a tint for each class: it can be learned, though not at once."""
    draw = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            noise = draw.integers(0, 160, (SIDE, SIDE, 3))
            noise[:, :, 2 - label % 3] += 60
            Image.fromarray(noise.astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


def tiny_recipe(folder: Path, *changes: str, network: str = "", **keys: Any) -> Recipe:
    """Write pictures, network and recipe into a folder, and load the recipe."""
    return load_recipe(str(write_recipe(folder, network=network, **keys)), overrides=changes)


def write_recipe(folder: Path, *, network: str = "", **keys: Any) -> Path:
    if not (folder / "photos").exists():
        write_pictures(folder / "photos")
    words: dict[str, Any] = {
        "task": "images",
        "data": {"train": "photos", "val": 0.25, "size": SIDE},
        "model": {"name": write_network(folder, network)},
        "phases": [{"epochs": 2, "freeze": {"through": "stem"}, "lr": 0.01}],
        "optimizer": {"name": "sgd"},
        "schedule": "constant",
        "batch_size": 4,
        "seed": 3,
    }
    path = folder / "tiny.yaml"
    path.write_text(json.dumps({**words, **keys}))  # JSON is YAML
    return path


class Twin(nn.Module):
    """The network of the user's file, written once more, for loops by hand; its names are the same."""

    def __init__(self, *, num_classes: int = len(CLASSES)) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.fc(x.mean((2, 3)))


def twin_at_start(seed: int, *, num_classes: int = len(CLASSES)) -> Twin:
    """The network as a run with that seed begins: drawn with five outputs, and then a new head."""
    torch.manual_seed(seed)
    twin = Twin(num_classes=5)
    twin.fc = nn.Linear(8, num_classes)
    return twin


def read_pictures(paths: Sequence[Path]) -> Tensor:
    """Pictures as the user's network takes them, read by hand."""
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    return ((torch.from_numpy(pixels).float() / 255 - 0.5) / 0.5).permute(0, 3, 1, 2).contiguous()


def train_by_hand(
    network: nn.Module,
    *,
    images: Tensor,
    labels: Tensor,
    trained: Mapping[str, float],
    optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer],
    lr: Callable[[int], float],
    epochs: int,
    order_seed: int,
    batch_size: int = 4,
    factors: Mapping[str, float] | None = None,
    clip_norm: float | None = None,
    earlier: torch.optim.Optimizer | None = None,
) -> torch.optim.Optimizer:
    """Train as anybody would in plain PyTorch: named tensors with their weight decay, all else held in eval.

    Rates may have a factor by name, gradients a largest norm; what an earlier optimizer knew of a tensor is carried.
    """
    network.to(memory_format=torch.channels_last)  # as our runs place convolutions
    named = dict(network.named_parameters())
    for name, parameter in named.items():
        parameter.requires_grad_(name in trained)
    stepper = optimizer([{"params": [named[name]], "weight_decay": decay} for name, decay in trained.items()])
    for parameter, state in (earlier.state if earlier is not None else {}).items():
        stepper.state[parameter] = dict(state)
    generator = torch.Generator().manual_seed(order_seed)
    places = torch.utils.data.TensorDataset(torch.arange(len(labels)))
    loader = torch.utils.data.DataLoader(places, batch_size=batch_size, shuffle=True, generator=generator)
    held = {name.rpartition(".")[0] for name in named} - {name.rpartition(".")[0] for name in trained}
    step = 0
    for _ in range(epochs):
        network.train()
        for name in held:
            network.get_submodule(name).eval()
        for (batch,) in loader:
            for group, name in zip(stepper.param_groups, trained, strict=True):
                group["lr"] = lr(step) * (factors or {}).get(name, 1.0)
            stepper.zero_grad()
            F.cross_entropy(network(images[batch]), labels[batch]).backward()
            if clip_norm is not None:
                nn.utils.clip_grad_norm_([named[name] for name in trained], clip_norm)
            stepper.step()
            step += 1
    return stepper
