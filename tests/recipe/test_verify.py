"""Proving a recipe in memory, and a finished run from its checkpoint: it holds, and every way to break it shows."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from frostline.errors import NonFiniteLossError, ProofError, RunError, WeightsError
from frostline.freezing import digests
from frostline.recipe import assemble, finetune, load_recipe, verify_recipe, verify_run
from frostline.record import Proof, read_record, write_json
from training.tiny import tiny_recipe, write_recipe

pytestmark = pytest.mark.recipe


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    phases = [
        {"epochs": 1, "freeze": "all", "lr": 0.1},
        {"epochs": 1, "freeze": {"through": "stem"}, "lr": 0.05},
    ]
    finetune(tiny_recipe(folder, phases=phases), out=folder / "run")
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run that may be broken."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def failing(proof: Proof) -> dict[str, str]:
    return {claim.name: claim.evidence["summary"] for claim in proof.claims if claim.status == "fails"}


def test_a_run_holds_and_is_left_as_it_is(finished: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    proof = verify_run(finished)
    assert proof.ok
    statuses = [claim.status for claim in proof.claims]
    assert statuses == ["holds", "not applicable", *["holds"] * 5, "not applicable"]
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["conv1.weight", "bn1.running_var", "bn1.bias"])
def test_one_bit_of_a_held_tensor_is_seen(name: str, run: Path) -> None:
    path = run / "checkpoints/best.safetensors"
    state = load_file(path)
    flat = state[name].view(-1).view(torch.int32)
    flat[2] ^= 1
    save_file(state, path)
    found = failing(verify_run(run))
    assert list(found) == ["held tensors did not move"]
    assert found["held tensors did not move"].startswith(f"{name} is not what it was before the run")


def test_a_trained_tensor_that_is_not_what_the_run_ended_with_is_seen(run: Path) -> None:
    change(run, "conv2.weight")
    found = failing(verify_run(run))
    assert found == {"held tensors did not move": "conv2.weight is not what the run ended with"}


def test_a_network_built_anew_that_is_another_is_a_warning(run: Path) -> None:
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("seed: 3", "seed: 4"))
    proof = verify_run(run)
    assert proof.ok
    assert "held tensors of the network built anew are not what this run started from" in proof.warnings[-1]


def test_a_change_is_seen_where_no_tensor_was_held_in_every_phase(tmp_path: Path) -> None:
    phases = [{"epochs": 1, "freeze": words, "lr": 0.01} for words in ("none", "all")]
    finetune(tiny_recipe(tmp_path, phases=phases), out=tmp_path / "run")
    assert verify_run(tmp_path / "run").ok
    change(tmp_path / "run", "bn1.running_mean")
    assert failing(verify_run(tmp_path / "run")) == {
        "held tensors did not move": "bn1.running_mean is not what the run ended with"
    }


def test_a_run_that_failed_before_it_was_proven_has_no_proof_that_holds(tmp_path: Path) -> None:
    phases = [{"epochs": 1, "freeze": "all", "lr": 0.1}, {"epochs": 1, "freeze": {"through": "stem"}, "lr": 1e30}]
    (tmp_path / "run").mkdir()
    recipe = tiny_recipe(tmp_path, phases=phases, replay="off")
    with pytest.raises(NonFiniteLossError):
        finetune(recipe, out=tmp_path / "run")
    assert read_record(tmp_path / "run").proof is None  # of the first phase, and no word of the second
    with pytest.raises(RunError, match=r"it failed \(training: .*\), so that there is no end to prove"):
        verify_run(tmp_path / "run")
    # One of a life before does not stay.
    (tmp_path / "run/proof.json").write_text('{"ok": true}')
    with pytest.raises(NonFiniteLossError):
        finetune(recipe, out=tmp_path / "run", resume=True)
    assert not (tmp_path / "run/proof.json").exists()


def test_a_run_that_was_proven_keeps_its_proof_whatever_fails_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("frostline.recipe.run.evaluate", fails)
    with pytest.raises(KeyboardInterrupt):
        finetune(tiny_recipe(tmp_path), out=tmp_path / "run")
    assert json.loads((tmp_path / "run/proof.json").read_text())["ok"]
    proof = verify_run(tmp_path / "run")
    assert proof.ok
    assert proof.warnings[-1] == "the run failed: stopped by hand"
    change(tmp_path / "run", "conv1.weight")
    assert failing(verify_run(tmp_path / "run")) == {
        "held tensors did not move": "conv1.weight is not what it was before the run"
    }


def test_what_failed_in_the_run_fails_afterwards_and_every_phase_is_tried(tmp_path: Path) -> None:
    network = "def between(self, x):\n    return F.dropout(x, 0.5, training=True)"
    phases = [{"epochs": 1, "freeze": words, "lr": 0.01} for words in ({"through": "stage1"}, {"match": ["conv1"]})]
    recipe = tiny_recipe(tmp_path, network=network, phases=phases, replay="off")
    with pytest.raises(ProofError):
        finetune(recipe, out=tmp_path / "run")
    name = "the prefix computes the same in train and eval mode"
    found = failing(verify_run(tmp_path / "run"))
    assert list(found) == [name]
    assert found[name].startswith("in the run: phase 1: conv2 gives")
    record = read_record(tmp_path / "run").to_json()
    write_json(tmp_path / "run/record.json", {**record, "status": "finished", "proof": None})
    assert failing(verify_run(tmp_path / "run"))[name].startswith("phase 1: conv2 gives")


def test_the_line_says_whether_anything_was_frozen_in_any_phase(tmp_path: Path) -> None:
    for name, freezes in (("thawed", ("all", "none")), ("never", ("none", "none"))):
        phases = [{"epochs": 1, "freeze": words, "lr": 0.01} for words in freezes]
        record = finetune(tiny_recipe(tmp_path, phases=phases), out=tmp_path / name)
        begins = "the freeze held in 2 phases; in the last 0" if name == "thawed" else "nothing was frozen in 2 phases;"
        assert record.proof is not None
        assert record.proof["line"].startswith(begins)
        assert verify_run(tmp_path / name).line.startswith(begins)


def test_a_record_without_digests_proves_nothing_about_them(run: Path) -> None:
    write_json(run / "record.json", {**read_record(run).to_json(), "digests": {}})
    (claim,) = [claim for claim in verify_run(run).claims if claim.name == "held tensors did not move"]
    assert claim.status == "not applicable"


def change(run: Path, name: str) -> None:
    """Add 1 to a tensor of the best checkpoint."""
    path = run / "checkpoints/best.safetensors"
    state = load_file(path)
    state[name] += 1
    save_file(state, path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("freeze: all", "freeze: none", id="less is held"),
        pytest.param("through: stem", "through: stage1", id="more is held"),
        pytest.param("norm: eval", "norm: train", id="statistics may move"),
    ],
)
def test_a_recipe_that_was_changed_is_refused(old: str, new: str, run: Path) -> None:
    recipe = run / "recipe.yaml"
    assert old in recipe.read_text()
    recipe.write_text(recipe.read_text().replace(old, new))
    with pytest.raises(RunError, match=r"recipe\.yaml has another freeze than the record"):
        verify_run(run)


def test_data_may_have_moved_elsewhere(finished: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(finished.parent / "photos", tmp_path / "elsewhere")
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(finished.parent / "photos"), str(tmp_path / "elsewhere")))
    assert verify_run(run).ok


def test_a_run_without_its_parts(run: Path, tmp_path: Path) -> None:
    (run / "checkpoints/best.safetensors").write_bytes(b"no tensors at all")
    with pytest.raises(WeightsError, match="no readable safetensors file"):
        verify_run(run)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(RunError, match="no checkpoint there"):
        verify_run(run)
    (run / "record.json").unlink()
    with pytest.raises(RunError, match="a run that has not come to its end"):
        verify_run(run)
    with pytest.raises(RunError, match="no such folder"):
        verify_run(tmp_path / "nowhere")


def test_a_recipe_holds_and_nothing_is_written(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    files = sorted(tmp_path.rglob("*"))
    proof = verify_recipe(recipe)
    assert proof.ok
    assert [claim.status for claim in proof.claims] == ["holds"] * 7 + ["not applicable"]
    assert sorted(path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts) == files


def test_a_recipe_with_a_technique_is_proven_in_its_phases(tmp_path: Path) -> None:
    words = json.loads(write_recipe(tmp_path).read_text())
    del words["phases"]
    path = tmp_path / "technique.yaml"
    path.write_text(json.dumps({**words, "technique": {"name": "gradual", "every": 1, "epochs": 3}}))
    proof = verify_recipe(load_recipe(str(path)))
    assert proof.ok
    assert proof.phases == 3


def test_every_phase_of_a_recipe_is_tried(tmp_path: Path) -> None:
    phases = [{"epochs": 1, "freeze": words, "lr": 0.1} for words in ("all", {"through": "stem"}, "none")]
    proof = verify_recipe(tiny_recipe(tmp_path, phases=phases))
    assert (proof.ok, proof.phases) == (True, 3)
    seen = {claim.name: [phase["status"] for phase in claim.evidence["phases"]] for claim in proof.claims}
    assert seen["held modules stay in eval"] == ["holds", "holds", "not applicable"]


@pytest.mark.parametrize(
    ("network", "claim", "says"),
    [
        pytest.param(
            "def before(self):\n    self.bn1.training = True", "held modules stay in eval", "bn1", id="a mode"
        ),
        pytest.param(
            "def before(self):\n    self.conv1.weight.requires_grad_(True)",
            "requires_grad is as planned",
            "conv1.weight",
            id="a thaw",
        ),
        pytest.param(
            "def before(self):\n    if self.training:\n        self.conv1.weight.data.mul_(1.001)",
            "held tensors did not move",
            "conv1.weight",
            id="a weight",
        ),
        pytest.param(
            "def begin(self):\n    self.bn2.unused = nn.Parameter(torch.zeros(2))",
            "gradients reach exactly what is trained",
            "bn2.unused is trained and got no gradient",
            id="a parameter that is not used",
        ),
    ],
)
def test_a_network_that_breaks_the_freeze_is_found_out(network: str, claim: str, says: str, tmp_path: Path) -> None:
    proof = verify_recipe(tiny_recipe(tmp_path, network=network))
    assert not proof.ok
    assert says in failing(proof)[claim]


def test_the_start_of_a_run_is_that_of_its_recipe(finished: Path) -> None:
    """What a proof of a run compares with is made anew from the recipe, and is the same each time."""
    recipe = load_recipe(str(finished / "recipe.yaml"))
    first, second = (assemble(recipe).model for _ in range(2))
    names = list(first.state_dict())
    assert digests(first, names) == digests(second, names)


def test_a_record_without_a_freeze_is_refused(run: Path) -> None:
    record = read_record(run).to_json()
    words: dict[str, Any] = record["recipe"]
    del words["phases"]
    write_json(run / "record.json", json.loads(json.dumps(record)))
    with pytest.raises(RunError, match="another freeze"):
        verify_run(run)
