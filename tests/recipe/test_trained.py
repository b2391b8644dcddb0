"""A finished run as a network: the weights of its best checkpoint, without its data."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from frostline.deployment import load_run
from frostline.errors import RunError
from frostline.recipe import finetune
from frostline.recipe.trained import checkpoint_of
from training.tiny import CLASSES, SIDE, Twin, tiny_recipe

pytestmark = pytest.mark.recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose rate is too high, so that its best epoch is not its last; its data is gone."""
    folder = tmp_path_factory.mktemp("trained")
    phases = [{"epochs": 3, "freeze": {"through": "stem"}, "lr": 10.0}]
    record = finetune(tiny_recipe(folder, phases=phases, metric="loss"), out=folder / "run")
    assert record.best["epoch"] < 3
    shutil.rmtree(folder / "photos")
    return folder / "run"


def test_the_network_is_that_of_the_best_checkpoint(run: Path) -> None:
    trained = load_run(run)
    assert trained.checkpoint == run / "checkpoints/best.safetensors"
    saved = load_file(trained.checkpoint)
    state = trained.model.state_dict()
    assert state.keys() == saved.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in saved.items())
    last = load_file(run / "checkpoints/last.safetensors")
    assert any(not torch.equal(last[name], tensor) for name, tensor in saved.items())
    twin = Twin().eval()
    twin.load_state_dict(saved)
    images = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        assert torch.equal(trained.model(images), twin(images))


def test_what_else_a_run_knows(run: Path) -> None:
    trained = load_run(run)
    assert (trained.run, trained.classes, trained.record.status) == (run, CLASSES, "finished")
    assert (trained.spec.size_px, trained.spec.mean, trained.spec.std) == (SIDE, (0.5,) * 3, (0.5,) * 3)
    assert trained.recipe.model_dump(mode="json") == trained.record.recipe
    assert not any(module.training for module in trained.model.modules())


def test_loading_leaves_torchs_random_state_to_its_seed(run: Path) -> None:
    first, second = load_run(run).model.state_dict(), load_run(run).model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_without_a_best_checkpoint_the_last_counts(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    (other / "checkpoints/best.safetensors").unlink()
    assert checkpoint_of(other) == other / "checkpoints/last.safetensors"
    saved = load_file(other / "checkpoints/last.safetensors")
    state = load_run(other).model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in saved.items())


def test_a_run_without_checkpoints(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    shutil.rmtree(other / "checkpoints")
    with pytest.raises(RunError, match="no checkpoint there"):
        load_run(other)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no record\.json there"):
        load_run(tmp_path)


@pytest.mark.parametrize("head", ["linear", "few_shot"])
def test_a_run_with_either_head_is_loaded(head: str, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, "phases.0.freeze=all", "phases.0.epochs=1", head=head)
    record = finetune(recipe, out=tmp_path / "run")
    assert record.proof is not None
    assert record.proof["ok"]
    trained = load_run(tmp_path / "run")
    saved = load_file(tmp_path / "run/checkpoints/best.safetensors")
    layers = {"linear": ["fc"], "few_shot": ["fc.0", "fc.3"]}[head]
    assert {name.rpartition(".")[0] for name in saved if name.startswith("fc")} == set(layers)
    # `freeze: all` trains the head, all of it, and nothing else.
    numel = sum(tensor.numel() for name, tensor in saved.items() if name.startswith("fc"))
    assert record.parameters["trained"] == numel
    assert [row["stage"] for row in record.proof["stages"] if row["trained"]] == ["head"]
    with torch.no_grad():
        assert trained.model(torch.randn(2, 3, SIDE, SIDE)).shape == (2, len(CLASSES))


def test_a_run_keeps_the_input_that_it_learned_from(tmp_path: Path) -> None:
    finetune(tiny_recipe(tmp_path, "phases.0.epochs=1"), out=tmp_path / "run")
    assert load_run(tmp_path / "run").cautions == ()
    file = tmp_path / "net.py"
    file.write_text(file.read_text().replace("MEAN = STD = (0.5, 0.5, 0.5)", "MEAN = STD = (0.25, 0.25, 0.25)"))
    trained = load_run(tmp_path / "run")
    assert (trained.spec.mean, trained.spec.std) == ((0.5,) * 3, (0.5,) * 3)
    assert trained.cautions == (f"{file} is not what it was when the run was trained: what it computes now may differ",)
    file.rename(tmp_path / "moved.py")
    recipe = tmp_path / "run/recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(file), str(tmp_path / "moved.py")))
    assert load_run(tmp_path / "run").cautions[0].startswith(f"{tmp_path / 'moved.py'} is not what it was")


def test_a_run_that_was_killed_is_a_run(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(
        RunError, match=r"a run that has not come to its end\. go on with it: `frostline train … --resume`"
    ):
        load_run(tmp_path)
