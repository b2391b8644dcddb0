"""A run: what it leaves behind, what it repeats to the bit, and how it fails: in one line, with what was good kept."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import confusion_matrix, log_loss

from frostline.errors import NonFiniteLossError, ProofError, RunError, RunFailure
from frostline.recipe import check_free, finetune, load_recipe
from frostline.record import RunRecord, read_predictions, read_record
from training.tiny import CLASSES, Twin, tiny_recipe, write_recipe

CLAIMS = (
    "requires_grad is as planned",
    "the optimizer has exactly what is trained",
    "held modules stay in eval",
    "the prefix computes the same in train and eval mode",
    "gradients reach exactly what is trained",
    "held tensors did not move",
    "saved and loaded, the network gives the same output",
    "all processes have the same weights",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRecord]:
    folder = tmp_path_factory.mktemp("finished")
    phases = [
        {"epochs": 2, "freeze": "all", "lr": 0.1},
        {"epochs": 1, "freeze": {"through": "stem"}, "lr": 0.01, "start_from": "best"},
    ]
    recipe = tiny_recipe(folder, phases=phases, data={"train": "photos", "val": 0.25, "test": 0.25, "size": 16})
    return folder / "run", finetune(recipe, out=folder / "run")


@pytest.mark.recipe
def test_the_files_of_a_run(finished: tuple[Path, RunRecord]) -> None:
    run, _ = finished
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    (events,) = (name for name in files if name.startswith("tensorboard/"))
    assert files - {events} == {
        "recipe.yaml",
        "record.json",
        "metrics.csv",
        "proof.json",
        "report.html",
        "checkpoints/best.safetensors",
        "checkpoints/last.safetensors",
        "predictions/test.safetensors",
        "predictions/val.safetensors",
    }
    for name in files - {events}:
        assert (run / name).stat().st_mode & 0o044 == 0o044, name  # others may read a run


@pytest.mark.recipe
def test_the_record(finished: tuple[Path, RunRecord]) -> None:
    run, record = finished
    assert read_record(run) == record
    plain = json.loads((run / "record.json").read_text())
    wanted = ["recipe", "epochs", "best", "seconds", "peak_rss_mb", "parameters", "proof", "versions", "machine"]
    assert set(wanted) <= plain.keys()
    assert record.status == "finished"
    assert record.failure is None
    assert record.classes == CLASSES
    assert record.samples == {"train": 12, "val": 6, "test": 6}
    # 4·3·9 + 8 held in both phases; 8·4·9 + 16 in the first; 8·3 + 3 in none.
    stem, body, head = 116, 304, 27
    assert record.parameters == {
        "total": stem + body + head,
        "trained": body + head,
        "held": stem,
        "phases": [{"trained": head, "held": stem + body}, {"trained": body + head, "held": stem}],
    }
    assert [(epoch.epoch, epoch.phase, epoch.lr) for epoch in record.epochs] == [(1, 1, 0.1), (2, 1, 0.1), (3, 2, 0.01)]
    assert [(phase.freeze, phase.start_from) for phase in record.phases] == [
        ("all", "last"),
        ({"through": "stem"}, "best"),
    ]
    looked = "looking for what can be replayed"
    assert {"total", "preparation", looked, "training", "evaluation"} == record.seconds.keys()
    parts = sum(seconds for part, seconds in record.seconds.items() if part != "total")
    assert 0 < parts <= record.seconds["total"]
    assert sum(epoch.seconds for epoch in record.epochs) <= record.seconds["training"]
    assert 50 < record.peak_rss_mb < 64 * 1024
    assert record.versions["torch"] == torch.__version__.partition("+")[0]
    assert record.machine["cpus"] == os.cpu_count()
    for evaluation in record.evaluations:
        assert sum(map(sum, evaluation.confusion)) == evaluation.samples == 6
        right = sum(evaluation.confusion[label][label] for label in range(3))
        assert evaluation.metrics["accuracy"] == pytest.approx(right / 6)
        said = read_predictions(run, evaluation.split)
        assert said is not None
        assert said.classes == CLASSES
        found = confusion_matrix(said.labels_N, said.shares_NK.argmax(1), labels=range(3))
        assert found.tolist() == [list(row) for row in evaluation.confusion]
        assert log_loss(said.labels_N, said.shares_NK, labels=range(3)) == pytest.approx(evaluation.loss, rel=1e-5)
        assert [Path(name).parent.name for name in said.samples] == [CLASSES[label] for label in said.labels_N]
    assert record.inference_seconds is not None
    assert 0 < record.inference_seconds < 1


@pytest.mark.recipe
def test_the_proof(finished: tuple[Path, RunRecord]) -> None:
    run, record = finished
    proof = json.loads((run / "proof.json").read_text())
    assert proof["ok"] is True
    assert tuple(claim["name"] for claim in proof["claims"]) == CLAIMS
    for claim in proof["claims"]:
        assert claim["status"] == ("not applicable" if claim["name"] == CLAIMS[-1] else "holds")
        assert claim["evidence"]["summary"]
    assert record.proof == proof
    assert "in 2 phases; in the last 116 parameters held, 331 trained" in proof["line"]


@pytest.mark.recipe
def test_the_metrics_are_those_of_the_record(finished: tuple[Path, RunRecord]) -> None:
    run, record = finished
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(record.epochs)
    for row, epoch in zip(rows, record.epochs, strict=True):
        found = {name: float(value) for name, value in row.items()}
        fixed = {name: getattr(epoch, name) for name in ("epoch", "phase", "lr", "train_loss", "val_loss", "seconds")}
        assert found == {**fixed, **epoch.metrics}


@pytest.mark.recipe
def test_tensorboard_has_every_epoch(finished: tuple[Path, RunRecord]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, record = finished
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    losses = {event.step: event.value for event in events.Scalars("loss/val")}
    assert losses == pytest.approx({epoch.epoch: epoch.val_loss for epoch in record.epochs})
    assert set(events.Tags()["scalars"]) >= {"loss/train", "lr", "val/accuracy", "train/accuracy"}


@pytest.mark.recipe
def test_the_recipe_of_a_run_runs_it_again_to_the_bit(finished: tuple[Path, RunRecord], tmp_path: Path) -> None:
    run, record = finished
    again = finetune(str(run / "recipe.yaml"), out=str(tmp_path / "again"))
    other = finetune(load_recipe(run / "recipe.yaml", overrides=["seed=4"]), out=tmp_path / "other")
    for name in ("best", "last"):
        bits = [(out / f"checkpoints/{name}.safetensors").read_bytes() for out in (run, tmp_path / "again")]
        assert bits[0] == bits[1]
        assert bits[0] != (tmp_path / f"other/checkpoints/{name}.safetensors").read_bytes()
    assert [replace(epoch, seconds=0.0) for epoch in again.epochs] == [
        replace(epoch, seconds=0.0) for epoch in record.epochs
    ]
    assert (again.evaluations, again.best, again.proof) == (record.evaluations, record.best, record.proof)
    assert other.epochs[0].train_loss != record.epochs[0].train_loss


@pytest.mark.parametrize(
    ("made", "says"),
    [
        pytest.param("file", "something is there already", id="a file"),
        pytest.param("folder with a file", "something is there already", id="a folder with something in it"),
        pytest.param("run", "a run of that name is there already", id="a run"),
        pytest.param("long", "File name too long", id="a name that no file can have"),
    ],
)
def test_a_folder_that_cannot_be_taken(made: str, says: str, tmp_path: Path) -> None:
    out = tmp_path / ("x" * 300 if made == "long" else "out")
    if made == "file":
        out.touch()
    elif made != "long":
        out.mkdir()
        (out / ("recipe.yaml" if made == "run" else "notes.txt")).touch()
    with pytest.raises(RunError, match=says):
        check_free(out)


def test_a_folder_that_is_free(tmp_path: Path) -> None:
    check_free(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    check_free(tmp_path / "empty")


def failed(folder: Path, kind: type[Exception], *, network: str = "", **keys: Any) -> tuple[Exception, RunRecord]:
    """Run what must fail, and give the error and the record that it left; the page is there, whatever happened."""
    recipe = tiny_recipe(folder, network=network, **keys)
    with pytest.raises(kind) as caught:
        finetune(recipe, out=folder / "run")
    record = read_record(folder / "run")
    assert record.status == "failed"
    assert record.failure == str(caught.value)
    assert "\n" not in record.failure
    assert (folder / "run/report.html").is_file()
    assert (folder / "run/recipe.yaml").is_file()
    return caught.value, record


def is_good(checkpoint: Path) -> bool:
    network = Twin()
    network.load_state_dict(load_file(checkpoint), strict=True)
    return all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())


def phase(lr: float, epochs: int = 1) -> dict[str, Any]:
    return {"epochs": epochs, "freeze": {"through": "stem"}, "lr": lr}


@pytest.mark.recipe
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    error, record = failed(tmp_path, NonFiniteLossError, phases=[phase(0.01), phase(1e30, 3)])
    last = tmp_path / "run/checkpoints/last.safetensors"
    assert is_good(last)
    for words in ("the loss is nan in epoch 2, step 2, at rate 1e+30", "photos/", ".png", "checkpoint is kept"):
        assert words in str(error)
    assert [epoch.epoch for epoch in record.epochs] == [1]
    assert record.best["epoch"] == 1
    # The checkpoint is that of the epoch before, to the bit.
    finetune(tiny_recipe(tmp_path, phases=[phase(0.01)]), out=tmp_path / "one")
    assert last.read_bytes() == (tmp_path / "one/checkpoints/last.safetensors").read_bytes()


@pytest.mark.recipe
@pytest.mark.parametrize(
    ("val", "says"),
    [
        pytest.param(0.25, "the validation loss is nan in epoch 1, step 1", id="validation sees it"),
        pytest.param(None, " is not finite any more in epoch 1, step 1, at rate 1e+30", id="nothing sees it"),
    ],
)
def test_what_the_last_step_broke_becomes_no_checkpoint(val: float | None, says: str, tmp_path: Path) -> None:
    data = {"train": "photos", "val": val, "size": 16}
    decay = {"name": "sgd", "weight_decay": 1e30}
    error, _ = failed(tmp_path, NonFiniteLossError, phases=[phase(1e30)], optimizer=decay, batch_size=100, data=data)
    assert says in str(error)
    assert "there is no checkpoint" in str(error)
    assert not (tmp_path / "run/checkpoints").exists()


FAULTS = {
    "thaws in forward": (
        "def before(self):\n    self.conv1.weight.requires_grad_(True)",
        "conv1.weight is held by the",
    ),
    "leaves eval mode": ("def before(self):\n    self.bn1.training = True", "bn1 is in train mode"),
    "goes around the hold": ("def before(self):\n    nn.Module.train(self.bn1)", "bn1 is in train mode"),
    "replaces a trained tensor": (
        "def before(self):\n    if self.training and not hasattr(self, 'done'):\n        self.done = True\n"
        "        self.fc.weight = nn.Parameter(self.fc.weight.detach().clone())",
        "fc.weight is trained and not in the optimizer",
    ),
    "replaces a held tensor": (
        "def before(self):\n    if self.training:\n"
        "        self.conv1.weight = nn.Parameter(self.conv1.weight.detach())",
        "conv1.weight is held by the plan, and requires_grad is True",
    ),
    "moves a held buffer": (
        "def before(self):\n    if self.training:\n        self.bn1.running_mean += 1",
        "bn1.running_mean moved",
    ),
    "moves a held weight at the end": (
        "def before(self):\n    self.n = getattr(self, 'n', 0) + self.training\n    if self.n > 7:\n"
        "        self.conv1.weight.data.mul_(1.0001)",
        "conv1.weight ",
    ),
    "has a parameter that it does not use": (
        "def begin(self):\n    self.bn2.unused = nn.Parameter(torch.zeros(2))",
        "bn2.unused is trained and got no gradient in any of 8 steps",
    ),
}


@pytest.mark.recipe
@pytest.mark.parametrize(("network", "says"), FAULTS.values(), ids=FAULTS.keys())
def test_a_network_that_breaks_the_freeze_fails_the_run(network: str, says: str, tmp_path: Path) -> None:
    error, record = failed(tmp_path, ProofError, network=network)
    assert record.proof is not None
    assert not record.proof["ok"]
    assert json.loads((tmp_path / "run/proof.json").read_text()) == record.proof
    if "`frostline verify` shows all claims" in str(error):
        assert says in str(error)
    else:
        claim = record.proof["claims"][5]
        assert (claim["name"], claim["status"]) == (CLAIMS[5], "fails")
        assert claim["evidence"]["summary"].startswith(says)


@pytest.mark.recipe
def test_a_block_that_is_skipped_now_and_then_breaks_nothing_and_is_told(tmp_path: Path) -> None:
    network = (
        "def begin(self):\n    self.extra, self.n = nn.Conv2d(4, 4, 1), 0\n"
        "def between(self, x):\n    self.n += self.training\n    return x if self.n % 2 else self.extra(x)"
    )
    phases = [{"epochs": 2, "freeze": "none", "lr": 0.01}]
    record = finetune(tiny_recipe(tmp_path, network=network, phases=phases), out=tmp_path / "run")
    assert record.proof is not None
    assert record.proof["ok"]
    said = "the gradient of 2 trained tensors was missing in some of the 8 steps watched: extra.bias, extra.weight"
    assert said in record.proof["warnings"]


@pytest.mark.recipe
def test_a_freeze_that_breaks_in_a_later_phase_leaves_no_proof_that_holds(tmp_path: Path) -> None:
    network = "def before(self):\n    if self.training and not self.conv2.weight.requires_grad:\n"
    network += "        self.conv2.weight.requires_grad_(True)"
    freezes = [phase(0.01), {"epochs": 1, "freeze": "all", "lr": 0.01}]
    error, record = failed(tmp_path, ProofError, network=network, phases=freezes, replay="off")
    assert "after the first step" in str(error)
    assert [one.index for one in record.phases] == [1]
    assert record.proof is not None
    assert not record.proof["ok"]
    assert record.proof["line"].startswith("THE FREEZE DID NOT HOLD in 2 phases")


@pytest.mark.recipe
def test_dropout_that_never_rests_in_the_held_part_fails_the_proof(tmp_path: Path) -> None:
    network = "def between(self, x):\n    return F.dropout(x, 0.5, training=True)"
    freeze = {"through": "stage1"}
    error, record = failed(tmp_path, ProofError, network=network, phases=[{"epochs": 1, "freeze": freeze, "lr": 0.01}])
    assert "conv2 gives another output in train mode" in str(error)
    assert record.proof is not None
    assert [claim["name"] for claim in record.proof["claims"] if claim["status"] == "fails"] == [CLAIMS[3]]
    assert json.loads((tmp_path / "run/proof.json").read_text()) == record.proof
    assert (tmp_path / "run/checkpoints/best.safetensors").is_file()


@pytest.mark.recipe
@pytest.mark.parametrize("call", ["self.train()", "self.bn1.train()", "self.apply(lambda module: module.train())"])
def test_train_called_in_forward_does_not_wake_what_is_held(call: str, tmp_path: Path) -> None:
    network = f"def before(self):\n    if self.training:\n        {call}"
    record = finetune(tiny_recipe(tmp_path, network=network), out=tmp_path / "run")
    assert record.proof is not None
    assert record.proof["ok"]
    plain = finetune(tiny_recipe(tmp_path), out=tmp_path / "plain")
    checkpoints = [(tmp_path / name / "checkpoints/last.safetensors").read_bytes() for name in ("run", "plain")]
    assert checkpoints[0] == checkpoints[1]
    assert plain.evaluations == record.evaluations


@pytest.mark.recipe
def test_what_the_users_network_comes_with_frozen_stays_frozen(tmp_path: Path) -> None:
    network = "def begin(self):\n    self.bn2.weight.requires_grad_(False)"
    record = finetune(tiny_recipe(tmp_path, network=network), out=tmp_path / "run")
    assert record.parameters["trained"] == 331 - 8
    assert any("frozen beforehand and stay so: bn2.weight" in warning for warning in record.warnings)
    state = load_file(tmp_path / "run/checkpoints/last.safetensors")
    assert torch.equal(state["bn2.weight"], torch.ones(8))
    assert not torch.equal(state["bn2.bias"], torch.zeros(8))


@pytest.mark.recipe
def test_an_error_in_the_users_network_is_told_in_one_line_with_its_place(tmp_path: Path) -> None:
    network = "def between(self, x):\n    if self.training:\n        raise ValueError('not\\ntoday')\n    return x"
    error, record = failed(tmp_path, RunFailure, network=network)
    assert "ValueError: not (" in str(error)
    line = next(n for n, text in enumerate((tmp_path / "net.py").read_text().splitlines(), 1) if "raise" in text)
    assert f"net.py, line {line})" in str(error)
    assert isinstance(error.__cause__, ValueError)
    assert record.epochs == ()


@pytest.mark.recipe
def test_a_run_that_is_stopped_by_hand_says_so(tmp_path: Path) -> None:
    stop = "def before(self):\n    self.n = getattr(self, 'n', 0) + self.training\n    if self.n > 7:\n"
    recipe = tiny_recipe(tmp_path, "replay=off", network=stop + "        raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        finetune(recipe, out=tmp_path / "run")
    record = read_record(tmp_path / "run")
    assert (record.status, record.failure, len(record.epochs)) == ("failed", "stopped by hand", 1)
    assert is_good(tmp_path / "run/checkpoints/last.safetensors")


@pytest.mark.recipe
def test_a_run_that_is_killed_keeps_what_it_had(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, phases=[phase(1e-4, 100_000)])
    run = tmp_path / "run"
    code = (
        "from pathlib import Path; from frostline.recipe import finetune, load_recipe; "
        f"finetune(load_recipe({str(recipe)!r}), out=Path({str(run)!r}))"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        deadline = time.monotonic() + 120
        metrics = run / "metrics.csv"
        while not metrics.is_file() or metrics.read_bytes().count(b"\n") < 4:
            assert process.poll() is None, "the run ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert is_good(run / "checkpoints/last.safetensors")
    assert load_recipe(str(run / "recipe.yaml")) == load_recipe(str(recipe))
    epochs = [int(line.split(",")[0]) for line in metrics.read_text().splitlines()[1:] if line.count(",") == 8]
    assert epochs == list(range(1, len(epochs) + 1))
    assert len(epochs) >= 3
    assert not (run / "record.json").exists()
