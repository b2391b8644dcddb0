"""How fast `frostline predict` is beside loops written by hand; `make table-predict-speed`.

1,000 made pictures of 640 × 480, a MobileNetV2 at 224 px. Each way is a whole command, imports included, and writes the
same CSV; the ways take turns, and the medians count.
"""

import csv
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from PIL import Image

from frostline.recipe import Recipe, finetune
from tables import write_table

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/studies/predict_speed.md"
NUM_PICTURES = 1_000
ROUNDS = 5

# What people write: `workers` is that of torch's DataLoader.
BY_HAND = """
import csv, sys
from pathlib import Path
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.utils.data import DataLoader, Dataset
from torchvision import models, transforms

run, folder, to, workers = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])

class Pictures(Dataset):
    def __init__(self, paths):
        self.paths = paths
        self.transform = transforms.Compose([
            transforms.Resize((224, 224)), transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ])
    def __len__(self):
        return len(self.paths)
    def __getitem__(self, index):
        return self.transform(Image.open(self.paths[index]).convert("RGB"))

paths = sorted(folder.rglob("*.jpg"))
model = models.mobilenet_v2(num_classes=2)
model.load_state_dict(load_file(run / "checkpoints/last.safetensors"))
model.eval()
with open(to, "w", newline="") as file, torch.inference_mode():
    writer = csv.writer(file)
    writer.writerow(["path", "class", "probability", "a", "b"])
    done = 0
    for images in DataLoader(Pictures(paths), batch_size=32, num_workers=workers):
        for row in model(images).softmax(1).tolist():
            writer.writerow([paths[done], "ab"[row[1] > row[0]], max(row), *row])
            done += 1
"""


def main() -> None:
    """Measure and write the table."""
    with tempfile.TemporaryDirectory() as made:
        work = Path(made)
        _make_pictures(work / "pictures")
        run = _train(work)
        ways = {
            "`frostline predict`": [str(Path(sys.executable).with_name("frostline")), "predict", str(run)],
            "by hand, one process": [sys.executable, "-c", BY_HAND, str(run)],
            "by hand, two loading processes": [sys.executable, "-c", BY_HAND, str(run)],
        }
        tails = {"`frostline predict`": ["--to"], "by hand, one process": [], "by hand, two loading processes": []}
        workers = {"by hand, one process": ["0"], "by hand, two loading processes": ["2"]}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for number, (name, command) in enumerate(ways.items()):
                to = work / f"{number}.csv"
                begun = perf_counter()
                words = [*command, str(work / "pictures"), *tails[name], str(to), *workers.get(name, [])]
                subprocess.run(words, check=True, capture_output=True)
                seconds[name].append(perf_counter() - begun)
        apart = _difference(work / "0.csv", work / "1.csv")
    ours = median(seconds["`frostline predict`"])
    rows = [
        [name, f"{median(every):.1f}", f"{min(every):.1f} … {max(every):.1f}", f"{ours / median(every):.2f}"]
        for name, every in seconds.items()
    ]
    write_table(
        PAGE,
        header=["", "seconds, median", "range", "frostline ÷ this"],
        rows=rows,
        note=f"{NUM_PICTURES:,} pictures, {ROUNDS} rounds in turn; largest difference of a probability {apart:.4f}.",
    )


def _make_pictures(folder: Path) -> None:
    """Draw smooth random pictures, whose JPEGs are about as large as those of photographs."""
    random = np.random.default_rng(0)
    for place in range(NUM_PICTURES):
        path = folder / "ab"[place % 2] / f"{place:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        rough = Image.fromarray(random.integers(0, 256, (48, 64, 3), dtype=np.uint8)).resize((640, 480))
        grain = random.normal(0, 6, (480, 640, 1))
        Image.fromarray(np.clip(np.asarray(rough) + grain, 0, 255).astype(np.uint8)).save(path, quality=88)


def _train(work: Path) -> Path:
    """Make a run to predict with: what its network knows is of no matter here."""
    recipe = Recipe.model_validate(
        {
            "task": "images",
            "data": {"train": str(work / "pictures"), "per_class": 8, "val": None, "test": 0.002},
            "model": {"name": "torchvision/mobilenet_v2", "weights": "none"},
            "phases": [{"epochs": 1, "freeze": "all", "lr": 1e-3}],
        }
    )
    finetune(recipe, out=work / "run")
    return work / "run"


def _difference(ours: Path, theirs: Path) -> float:
    """Compare the probabilities of two CSV files, picture by picture."""
    tables = []
    for path in (ours, theirs):
        with path.open(newline="", encoding="utf-8") as file:
            tables.append({row["path"]: float(row["a"]) for row in csv.DictReader(file)})
    return max(abs(tables[0][name] - tables[1][name]) for name in tables[1])


if __name__ == "__main__":
    main()
