"""Several processes train one network: as one process would with batches as large, and whatever happens to one of them.

Two gloo processes on a CPU, started as `torchrun` starts them.
"""

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from frostline.recipe import finetune, load_recipe
from frostline.record import read_record
from recipe.processes import several, started, wait
from recipe.test_resume import same
from training.tiny import write_pictures, write_recipe

# Three unfreezings; BatchNorm is held throughout, so that a batch may be cut anywhere.
NORMS = ["bn1", "bn2"]
THAWING = [
    {"epochs": 2, "freeze": "all", "lr": 0.05},
    {"epochs": 2, "freeze": {"match": ["conv1", *NORMS]}, "lr": 0.03},
    {"epochs": 2, "freeze": {"match": NORMS}, "lr": 0.02},
]
# Here BatchNorm is trained with what is thawed.
WITH_NORMS = [
    {"epochs": 1, "freeze": "all", "lr": 0.05},
    {"epochs": 1, "freeze": {"through": "stem"}, "lr": 0.03, "start_from": "best"},
    {"epochs": 1, "freeze": "none", "lr": 0.02},
    {"epochs": 1, "freeze": {"through": "stem"}, "lr": 0.02},
]
BLOCK = """
def begin(self):
    self.conv2 = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False), nn.Identity())
"""
WAYS: dict[str, dict[str, Any]] = {
    "replayed": {},
    "class weights, checkpointing": {
        "loss": {"class_weights": "balanced"}, "ema": 0.9, "schedule": "one_cycle", "gradient_checkpointing": True,
        "network": BLOCK,
    },
    "augmented, adamw, two batches to a step": {
        "replay": "off", "augment": "light", "optimizer": "adamw", "accumulate": 2, "clip_norm": 0.5,
        "sampling": "balanced",
    },
    "sharded": {
        "shard": True, "optimizer": "adamw", "clip_norm": 0.5, "ema": 0.9, "accumulate": 2,
        "gradient_checkpointing": True, "network": BLOCK,
    },
    "compiled": {"compile": True, "network": BLOCK},
    "compiled, sharded": {"compile": True, "shard": True, "replay": "off"},
}  # fmt: skip


def photos(folder: Path) -> dict[str, Any]:
    """20 pictures to train on and 7 to judge by: neither can be divided among processes."""
    train, val = write_pictures(folder / "photos", count=7), write_pictures(folder / "judged", count=3, seed=1)
    for path in (train / "red/0.png", val / "red/0.png", val / "blue/0.png"):
        path.unlink()
    return {"train": str(train), "val": str(val), "size": 16}


def recipe_file(folder: Path, data: dict[str, Any], *, batch_size: int, **keys: Any) -> Path:
    folder.mkdir()
    words = {"data": data, "phases": THAWING, "replay": {"dir": str(folder / "store")}, **keys}
    return write_recipe(folder, batch_size=batch_size, **words)


def curve(run: Path) -> list[tuple[float, ...]]:
    return [(one.train_loss, one.val_loss, *one.metrics.values(), one.lr) for one in read_record(run).epochs]


# In three processes one has nothing of the last batch, and runs one that does not count.
OF_THREE = ("class weights, checkpointing", "sharded")
CASES = [*((way, 2) for way in WAYS), *((way, 3) for way in OF_THREE)]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], tuple[Path, Path, list[dict]]]:
    """Each way in one process, and in two or three with batches of a half or a third: (way, count) → both runs."""
    folder = tmp_path_factory.mktemp("processes")
    data, alone, found = photos(folder), {}, {}
    for number, (way, keys) in enumerate(WAYS.items()):
        file = recipe_file(folder / f"alone {number}", data, batch_size=6, **keys)
        finetune(load_recipe(str(file)).model_copy(update={"compile": False}), out=file.parent / "run")
        alone[way] = file.parent / "run"
    for count, ways in ((2, tuple(WAYS)), (3, OF_THREE)):
        files = [
            recipe_file(folder / f"{number} of {count}", data, batch_size=6 // count, **WAYS[way])
            for number, way in enumerate(ways)
        ]
        every = several(folder / f"of {count}", [(file, file.parent / "run") for file in files], count=count)
        for number, (way, file) in enumerate(zip(ways, files, strict=True)):
            found[way, count] = (alone[way], file.parent / "run", [mine[number] for mine in every])
    return found


@pytest.mark.recipe
@pytest.mark.parametrize(("way", "count"), CASES)
def test_the_curve_is_that_of_one_process_with_batches_as_large(pairs: Any, way: str, count: int) -> None:
    alone, apart, found = pairs[way, count]
    assert [mine["error"] for mine in found] == [""] * count
    assert torch.allclose(torch.tensor(curve(apart)), torch.tensor(curve(alone)), rtol=1e-5, atol=1e-6)
    weights = [load_file(run / "checkpoints/last.safetensors") for run in (alone, apart)]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.recipe
@pytest.mark.parametrize(("way", "count"), CASES)
def test_all_processes_have_the_same_network_after_each_unfreezing(pairs: Any, way: str, count: int) -> None:
    _, apart, found = pairs[way, count]
    assert all(mine["digests"] == found[0]["digests"] for mine in found)
    proof = read_record(apart).proof
    assert proof["ok"]
    phases = proof["claims"][7]["evidence"]["phases"]
    assert [phase["status"] for phase in phases] == ["holds"] * len(THAWING)
    assert all(len(set(phase["digests"])) == 1 and phase["processes"] == count for phase in phases)


@pytest.mark.recipe
@pytest.mark.parametrize("count", [2, 3])
def test_what_is_sharded_lies_in_parts(pairs: Any, count: int) -> None:
    alone, _, found = pairs["sharded", count]
    total = read_record(alone).parameters["total"]
    assert sum(mine["parts"] for mine in found) == total
    assert max(mine["parts"] for mine in found) < total
    assert [mine["parts"] for mine in pairs["class weights, checkpointing", count][2]] == [total] * count


@pytest.mark.recipe
@pytest.mark.parametrize("way", WAYS)
def test_what_is_to_be_compiled_runs_compiled_in_every_process(pairs: Any, way: str) -> None:
    steps = 3 * 3 * 2
    for mine in pairs[way, 2][2]:
        assert (mine["programs"] >= steps) if WAYS[way].get("compile") else mine["programs"] == 0


@pytest.mark.recipe
def test_one_process_writes_what_one_alone_would(pairs: Any) -> None:
    alone, apart, _ = pairs["replayed", 2]
    files = [{path.relative_to(run).parts[0] for path in run.rglob("*")} for run in (alone, apart)]
    assert files[0] == files[1]
    assert len(list((apart / "tensorboard").iterdir())) == 1
    record = read_record(apart)
    assert (record.machine["processes"], record.evaluations[0].samples) == (2, 7)
    assert any("looked up" in line or "recorded" in line for phase in record.phases for line in phase.replay)


NAN_IN_ONE = """
def between(self, x):
    import os
    return x * float("nan") if os.environ.get("RANK") == "1" and self.training else x
"""
MOVES_IN_ONE = """
def before(self):
    import os
    if os.environ.get("RANK") == "1" and self.training:
        self.conv1.weight.data += 1e-3
"""


UNUSED = """
def begin(self):
    self.conv2.unused = nn.Parameter(torch.zeros(2))
"""


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, list[dict]]]:
    """Runs in two processes of which one goes wrong, and one with BatchNorm: name → its folder, what each found."""
    folder = tmp_path_factory.mktemp("faults")
    data, runs = photos(folder), {}
    bodies = {"norms": "", "nan": NAN_IN_ONE, "moves": MOVES_IN_ONE, "unused": UNUSED}
    for name, body in bodies.items():
        phases = WITH_NORMS if name == "norms" else THAWING[1:2]
        file = recipe_file(folder / name, data, batch_size=4, phases=phases, network=body, replay="off")
        runs[name] = (file, folder / name / "run")
    small = photos(folder / "with a small one")
    Image.new("RGB", (8, 8)).save(Path(small["train"]) / "red/3.png")
    crop = {"transforms": [{"RandomCrop": {"size": 12}}, {"Resize": {"size": [16, 16]}}]}
    file = recipe_file(folder / "small", small, batch_size=4, phases=THAWING[1:2], augment=crop, replay="off")
    runs["small"] = (file, folder / "small/run")
    (folder / "taken").mkdir()
    (folder / "taken/notes.txt").write_text("mine")
    runs["taken"] = (runs["norms"][0], folder / "taken")
    every = several(folder / "both", list(runs.values()), count=2)
    return {name: (out, [mine[place] for mine in every]) for place, (name, (_, out)) in enumerate(runs.items())}


@pytest.mark.recipe
def test_statistics_that_each_process_took_of_its_own_batches_become_the_same(faults: Any) -> None:
    """What is held in the phase to come must be the same prefix in all."""
    out, found = faults["norms"]
    assert [mine["error"] for mine in found] == ["", ""]
    assert "bn2.running_var" in found[0]["digests"]
    assert found[0]["digests"] == found[1]["digests"]
    record = read_record(out)
    assert record.proof["ok"]
    assert any("2 processes: BatchNorm that is trained (bn2 …)" in line for line in record.warnings)


@pytest.mark.recipe
@pytest.mark.parametrize(
    ("name", "says"),
    [
        pytest.param("nan", "NonFiniteLossError training: the loss is nan in epoch 1, step 1", id="nan"),
        pytest.param(
            "moves", "ProofError freeze: match: [conv1, bn1, bn2]: after the first step: process 1", id="moves"
        ),
        pytest.param(
            "unused", "ProofError freeze: match: [conv1, bn1, bn2]: after the first step: conv2.unused is", id="unused"
        ),
        pytest.param("small", "UserError augment: ", id="a picture that cannot be augmented"),
        pytest.param("taken", "RunError run ", id="taken"),
    ],
)
def test_what_goes_wrong_in_one_process_ends_all_with_its_words(faults: Any, name: str, says: str) -> None:
    out, found = faults[name]
    assert found[0]["error"] == found[1]["error"]
    assert found[0]["error"].startswith(says)
    if name != "taken":
        assert read_record(out).status == "failed"
    else:
        assert [path.name for path in out.iterdir()] == ["notes.txt"]


KILLS = 2


@pytest.mark.recipe
@pytest.mark.parametrize("shard", [False, True], ids=["whole", "sharded"])
def test_both_killed_they_go_on_to_the_same_bits(shard: bool, tmp_path: Path) -> None:
    """With a dropout, of which each process draws its own."""
    keys = {"head": "few_shot", "ema": 0.9, "optimizer": "adamw", "shard": shard}
    file = recipe_file(tmp_path / "recipe", photos(tmp_path), batch_size=4, phases=WITH_NORMS, **keys)
    several(tmp_path / "whole", [(file, tmp_path / "expected")], count=2)
    draw, out = random.Random(0), tmp_path / "run"
    for number in range(KILLS):
        begun, seconds = time.time(), draw.uniform(0.0, 0.5)

        def is_due(begun: float = begun, seconds: float = seconds) -> bool:
            opened = (out / "recipe.yaml").stat().st_mtime if (out / "recipe.yaml").exists() else 0.0
            return opened > begun and time.time() - opened > seconds

        wait(started(tmp_path / f"of {number}", [(file, out)], count=2, resume=True, save_seconds=0), until=is_due)
    found = several(tmp_path / "last", [(file, out)], count=2, resume=True)
    assert found[0][0]["error"] == ""
    same(out, tmp_path / "expected")


@pytest.mark.recipe
def test_the_command_under_torchrun_speaks_once(tmp_path: Path) -> None:
    file = recipe_file(tmp_path / "recipe", photos(tmp_path), batch_size=4, phases=THAWING[:1])
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "frostline"]
    ended = subprocess.run(
        [*launch, "train", str(file), "--out", str(tmp_path / "run")], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("proof: the freeze held") == 1
    assert ended.stderr.count("phase 1 of 1") == 1
    assert "8 claims hold" in ended.stdout
    failed = subprocess.run([*launch, "train", str(file), "phases.0.lr=0"], capture_output=True, text=True, timeout=120)
    assert failed.returncode != 0
    assert failed.stderr.count("frostline: recipe ") == 1
