"""Out of memory: the phase begins again with fewer images at once, to the same result; or it says what would change."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from frostline.errors import RunFailure
from frostline.recipe import finetune
from frostline.record import RunRecord, read_record
from frostline.training.memory import is_out_of_memory
from training.tiny import tiny_recipe


def greedy(most: int) -> str:
    """A network that has no room for so many images in training."""
    error = "torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')"
    return f"def between(self, x):\n    if self.training and len(x) > {most}:\n        raise {error}\n    return x"


def run(folder: Path, name: str, *, network: str = "", freeze: Any = "all", **keys: Any) -> RunRecord:
    phases = [{"epochs": 3, "freeze": freeze, "lr": 0.05}]
    recipe = tiny_recipe(folder, phases=phases, network=network, replay="off", **keys)
    return finetune(recipe, out=folder / name)


@pytest.mark.recipe
@pytest.mark.parametrize("most", [4, 2])
def test_the_result_is_that_of_the_batch_that_was_asked_for(most: int, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    wanted = run(tmp_path / "a", "run", batch_size=8)
    found = run(tmp_path / "b", "run", batch_size=8, network=greedy(most))
    assert [epoch.val_loss for epoch in found.epochs] == pytest.approx(
        [epoch.val_loss for epoch in wanted.epochs], rel=1e-5
    )
    tensors = [load_file(tmp_path / name / "run/checkpoints/last.safetensors") for name in ("a", "b")]
    for name, tensor in tensors[0].items():
        torch.testing.assert_close(tensors[1][name], tensor, rtol=1e-4, atol=1e-5)
    said = [line for line in found.warnings if "out of memory" in line]
    assert len(said) == (1 if most == 4 else 2)
    assert said[-1].startswith(
        f"phase 1 of 1, freeze all: out of memory with {most * 2} images at once (CUDA out of memory. Tried to allocate"
    )
    assert said[-1].endswith(f"begun again with {most} and {8 // most} batches to a step")
    assert found.proof is not None
    assert found.proof["ok"]


@pytest.mark.recipe
def test_a_dropout_that_draws_for_fewer_images_is_told(tmp_path: Path) -> None:
    record = run(tmp_path, "run", batch_size=8, network=greedy(4), head="few_shot")
    (said,) = [line for line in record.warnings if "out of memory" in line]
    assert said.endswith("2 batches to a step; fc.2, which is random, draws for fewer samples at once")


def greedy_in_proof(most: int) -> str:
    """A network that has no room for so many images where the proof compares train and eval mode."""
    return greedy(most).replace("self.training", "torch.is_grad_enabled() and not self.training")


@pytest.mark.recipe
def test_the_proof_takes_few_images(tmp_path: Path) -> None:
    assert run(tmp_path, "run", batch_size=16, network=greedy_in_proof(8)).proof["ok"]


@pytest.mark.recipe
def test_memory_that_the_proof_lacks_is_not_taken_for_that_of_training(tmp_path: Path) -> None:
    with pytest.raises(RunFailure, match="it is trained, and memory did not suffice to prove that the freeze held"):
        run(tmp_path, "run", network=greedy_in_proof(0))
    assert len(read_record(tmp_path / "run").epochs) == 3


CHANGES = {
    "a trained BatchNorm": ({"freeze": {"through": "stem"}}, "with 4 the trained bn2 would take statistics of 4"),
    "mixing": ({"augment": {"mixup": 0.2}}, "with 4 other images would be mixed"),
    "one image": ({"batch_size": 1, "network": greedy(0)}, "out of memory with a single image"),
    "an odd number": ({"batch_size": 7, "network": greedy(6)}, "7 images at once, which cannot be halved"),
}


@pytest.mark.recipe
@pytest.mark.parametrize(("keys", "says"), CHANGES.values(), ids=CHANGES.keys())
def test_what_would_change_is_told_and_the_run_stops(keys: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(RunFailure, match=says):
        run(tmp_path, "run", **{"batch_size": 8, "network": greedy(4), **keys})
    assert says in str(read_record(tmp_path / "run").failure)


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, is_one: bool) -> None:
    assert is_out_of_memory(error) is is_one
