"""The pictures of the benchmarks: made once from a seed, then decoded and resized anew by whoever asks for one."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

NUM_PICTURES = 512
SIDE = 256
INPUT_SIDE = 224
QUALITY = 90
CLASSES = ("blobs", "bars", "rings", "checks")
BATCH_SIZE = 32
NUM_WORKERS = 2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Batch = tuple[torch.Tensor, torch.Tensor]


class Pictures(Dataset[Batch]):
    """A folder of JPEGs; one item is a decoded, resized and normalised picture with its class."""

    def __init__(self, folder: Path, *, count: int) -> None:
        self.paths = [_path(folder, number) for number in range(count)]
        self.transform = transforms.Compose(
            [
                transforms.Resize((INPUT_SIDE, INPUT_SIDE)),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        """Give the number of pictures."""
        return len(self.paths)

    def __getitem__(self, index: int) -> Batch:
        """Decode, resize and normalise one picture."""
        path = self.paths[index]
        with Image.open(path) as picture:
            image: torch.Tensor = self.transform(picture.convert("RGB"))
        return image, torch.tensor(CLASSES.index(path.parent.name))


def loader(pictures: Pictures, *, seed: int | None) -> DataLoader[Batch]:
    """Make the loader that every arm uses: two workers that live as long as it does.

    Args:
        pictures: what it loads, in batches of 32; the last one may be smaller.
        seed: of the order, which is another one in each epoch; None: in order of the files.
    """
    order = None if seed is None else torch.Generator().manual_seed(seed)
    return DataLoader(
        pictures,
        batch_size=BATCH_SIZE,
        shuffle=order is not None,
        generator=order,
        num_workers=NUM_WORKERS,
        persistent_workers=True,
    )


def make_pictures(folder: Path) -> None:
    """Write the JPEGs that are not there yet: the same on every machine with the same versions of numpy and Pillow."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(NUM_PICTURES):
        path = _path(folder, number)
        if not path.exists():
            unfinished = path.with_suffix(".part")
            _draw(number).save(unfinished, "jpeg", quality=QUALITY)
            unfinished.replace(path)


def _path(folder: Path, number: int) -> Path:
    return folder / CLASSES[number % len(CLASSES)] / f"{number:04d}.jpg"


def _draw(number: int) -> Image.Image:
    """Draw a pattern of the picture's class, anywhere, in any two colours, on a cloudy and noisy ground."""
    random = np.random.default_rng(number)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    turn, scale = random.uniform(0, np.pi), random.uniform(4, 10)
    across = scale * (x * np.cos(turn) + y * np.sin(turn) + random.uniform())
    along = scale * (y * np.cos(turn) - x * np.sin(turn) + random.uniform())
    far = scale * np.hypot(x - random.uniform(), y - random.uniform())
    near = np.hypot(across % 1 - 0.5, along % 1 - 0.5)
    drawn = {
        "blobs": near < 0.3,
        "bars": across % 1 < 0.5,
        "rings": far % 1 < 0.5,
        "checks": (across % 1 < 0.5) ^ (along % 1 < 0.5),
    }[CLASSES[number % len(CLASSES)]]
    ground, ink = random.uniform(0, 255, (2, 3))
    coarse = Image.fromarray(random.integers(0, 60, (9, 9), dtype=np.uint8))
    clouds = coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    noise = random.normal(0, 6, (SIDE, SIDE, 3))
    values = np.where(drawn[..., None], ink, ground) + np.asarray(clouds, float)[..., None] - 30 + noise
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))
