"""Several processes on texts of many lengths: as one process with batches as large, over two unfreezings."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from frostline.recipe import finetune, load_recipe
from frostline.record import read_record
from recipe.processes import several
from training.tiny_texts import text_rows, write_text_recipe, write_texts

pytestmark = pytest.mark.recipe

THAWING = [
    {"epochs": 2, "freeze": "all", "lr": 0.1},
    {"epochs": 1, "freeze": {"through": "block1"}, "lr": 0.1},
    {"epochs": 1, "freeze": {"through": "stem"}, "lr": 0.05},
]
WAYS: dict[str, dict[str, Any]] = {"replayed": {}, "computed": {"replay": "off", "accumulate": 2}}


def recipe_file(folder: Path, *, batch_size: int, **keys: Any) -> Path:
    folder.mkdir()
    # Neither divides among processes, whatever the length. Without dropout, whose draws differ by process.
    write_texts(folder / "texts.csv", text_rows(171, longest=30))
    write_texts(folder / "judged.csv", text_rows(31, seed=3, longest=30))
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    words = {"data": {"train": "texts.csv", "val": "judged.csv"}, "phases": THAWING, "batch_size": batch_size, **keys}
    return write_text_recipe(folder, network=still, **words)


def curve(run: Path) -> list[tuple[float, ...]]:
    return [(one.train_loss, one.val_loss, *one.metrics.values(), one.lr) for one in read_record(run).epochs]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path, list[dict]]]:
    folder = tmp_path_factory.mktemp("texts")
    alone, files = {}, {}
    for way, keys in WAYS.items():
        file = recipe_file(folder / f"alone {way}", batch_size=8, **keys)
        finetune(load_recipe(str(file)), out=file.parent / "run")
        alone[way] = file.parent / "run"
        files[way] = recipe_file(folder / way, batch_size=4, **keys)
    every = several(folder / "both", [(file, file.parent / "run") for file in files.values()], count=2)
    return {
        way: (alone[way], files[way].parent / "run", [mine[place] for mine in every]) for place, way in enumerate(WAYS)
    }


@pytest.mark.parametrize("way", WAYS)
def test_the_curve_is_that_of_one_process_with_batches_as_large(pairs: Any, way: str) -> None:
    alone, apart, found = pairs[way]
    assert [mine["error"] for mine in found] == ["", ""]
    assert torch.allclose(torch.tensor(curve(apart)), torch.tensor(curve(alone)), rtol=1e-5, atol=1e-6)
    weights = [load_file(run / "checkpoints/last.safetensors") for run in (alone, apart)]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_both_have_the_same_network_after_each_unfreezing(pairs: Any, way: str) -> None:
    _, apart, found = pairs[way]
    assert found[0]["digests"] == found[1]["digests"]
    record = read_record(apart)
    assert record.proof["ok"]
    assert [one["status"] for one in record.proof["claims"][7]["evidence"]["phases"]] == ["holds"] * len(THAWING)
    replayed = [line for phase in record.phases for line in phase.replay if "recorded" in line]
    assert bool(replayed) is (way == "replayed")
