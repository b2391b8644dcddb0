"""The loop against one written by hand: the same bits with SGD, the same numbers with AdamW and a cosine."""

import gc
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from frostline.recipe import finetune, load_recipe, run
from frostline.record import EpochRecord, RunRecord
from frostline.training import Best, PhaseResult, Silent, run_phase
from training.by_hand import EPOCHS, SEED, STEPS, TRAINED, by_hand, phases
from training.tiny import SIDE, tiny_recipe, twin_at_start, write_recipe


@pytest.mark.recipe
@pytest.mark.parametrize("workers", [0, 2])
def test_sgd_at_a_constant_rate_gives_the_bits_of_a_loop_by_hand(workers: int, tmp_path: Path) -> None:
    path = write_recipe(
        tmp_path,
        data={"train": "photos", "val": 0.25, "size": SIDE, "workers": workers},
        phases=phases(),
        optimizer={"name": "sgd", "momentum": 0.9, "weight_decay": 0.01},
        replay="off",  # looked up in other batches, numbers are rounded otherwise
    )
    finetune(load_recipe(str(path)), out=tmp_path / "run")
    twin = twin_at_start(SEED)
    by_hand(
        path,
        twin,
        optimizer=lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.9),
        lr=lambda _: 0.05,
        decay=0.01,
    )
    expected = twin.state_dict()
    found = load_file(tmp_path / "run/checkpoints/last.safetensors")
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


@pytest.mark.recipe
def test_adamw_with_a_cosine_gives_the_numbers_of_the_formula(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, phases=phases(), optimizer={"name": "adamw", "weight_decay": 0.1}, schedule="cosine")
    record = finetune(load_recipe(str(path)), out=tmp_path / "run")

    def rate(step: int) -> float:
        return 0.05 * (1 + math.cos(math.pi * step / (EPOCHS * STEPS))) / 2

    twin = twin_at_start(SEED)
    by_hand(path, twin, optimizer=lambda groups: torch.optim.AdamW(groups, lr=0.05), lr=rate, decay=0.1)
    expected = twin.state_dict()
    found = load_file(tmp_path / "run/checkpoints/last.safetensors")
    for name, tensor in expected.items():
        torch.testing.assert_close(
            found[name], tensor, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
    assert [epoch.lr for epoch in record.epochs] == pytest.approx([rate(STEPS * epoch) for epoch in range(EPOCHS)])


@pytest.mark.recipe
def test_rates_by_depth_a_warm_up_and_cut_gradients_give_the_bits_of_a_loop_by_hand(tmp_path: Path) -> None:
    path = write_recipe(
        tmp_path,
        phases=phases(rates={"early": 0.1, "stage1": 0.25, "head": 2}, warmup={"steps": 4}),
        clip_norm=0.05,
        replay="off",
    )
    record = finetune(load_recipe(str(path)), out=tmp_path / "run")
    twin = twin_at_start(SEED)
    by_hand(
        path,
        twin,
        optimizer=lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.9),
        lr=lambda step: 0.05 * min(1.0, (step + 1) / 4),
        factors={name: 2.0 if "fc" in name else 0.25 for name in TRAINED},
        clip_norm=0.05,
    )
    found, expected = load_file(tmp_path / "run/checkpoints/last.safetensors"), twin.state_dict()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-6, atol=1e-7)
    assert record.phases[0].rates == {"stage1": (0.0125, 0.0125), "head": (0.1, 0.1)}
    assert record.proof is not None
    assert record.proof["ok"]


@pytest.fixture(scope="module")
def overshot(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRecord]:
    """A run of one phase whose rate is too high: its best epoch is not its last."""
    folder = tmp_path_factory.mktemp("overshot")
    path = write_recipe(folder, phases=phases(lr=10.0), metric="loss", replay="off")
    record = finetune(load_recipe(str(path)), out=folder / "one")
    assert record.best["epoch"] < EPOCHS
    return path, record


@pytest.mark.recipe
@pytest.mark.parametrize("start_from", ["best", "last"])
def test_a_second_phase_starts_from_the_checkpoint_that_it_names(
    start_from: str, overshot: tuple[Path, RunRecord], tmp_path: Path
) -> None:
    path, first = overshot
    words = json.loads(path.read_text())
    words["phases"].append({"epochs": 1, "freeze": {"through": "stem"}, "lr": 0.01, "start_from": start_from})
    both = path.with_name(f"{start_from}.yaml")
    both.write_text(json.dumps(words))
    record = finetune(load_recipe(str(both)), out=tmp_path / "two")
    twin = twin_at_start(SEED)
    earlier = by_hand(
        path, twin, optimizer=lambda groups: torch.optim.SGD(groups, lr=10.0, momentum=0.9), lr=lambda _: 10.0
    )
    twin.load_state_dict(load_file(path.parent / f"one/checkpoints/{start_from}.safetensors"))
    by_hand(
        path,
        twin,
        optimizer=lambda groups: torch.optim.SGD(groups, lr=0.01, momentum=0.9),
        lr=lambda _: 0.01,
        epochs=1,
        phase=2,
        # Momentum is of the last weights; of the best ones nobody kept it.
        earlier=earlier if start_from == "last" else None,
    )
    expected = twin.state_dict()
    found = load_file(tmp_path / "two/checkpoints/last.safetensors")
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    # The first phase of both runs is the same, but for the seconds.
    assert [(epoch.train_loss, epoch.val_loss) for epoch in record.epochs[:EPOCHS]] == [
        (epoch.train_loss, epoch.val_loss) for epoch in first.epochs
    ]
    assert [(epoch.epoch, epoch.phase) for epoch in record.epochs] == [(1, 1), (2, 1), (3, 1), (4, 2)]


@pytest.mark.recipe
def test_what_a_phase_needed_alone_is_gone_when_the_next_one_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[nn.Module] = []
    counts: list[int] = []

    class Counts(Silent):
        def epoch(self, record: EpochRecord) -> None:
            gc.collect()
            counts.append(sum(type(thing) is torch.optim.SGD for thing in gc.get_objects()))

    def noted(model: nn.Module, *args: Any, **keys: Any) -> PhaseResult:
        models.append(model)
        done = run_phase(model, *args, **keys)
        assert all(parameter.grad is None for parameter in model.parameters())
        return done

    monkeypatch.setattr(run, "run_phase", noted)
    two = [{"epochs": 2, "freeze": freeze, "lr": 0.01} for freeze in ("none", {"through": "stem"})]
    finetune(tiny_recipe(tmp_path, phases=two, replay="off"), out=tmp_path / "run", show=Counts())
    assert len(models) == 2
    assert counts == [counts[0]] * 4


@pytest.mark.recipe
def test_the_best_epoch_is_the_best_of_all_phases(tmp_path: Path) -> None:
    spoiled = [*phases(), {"epochs": 2, "freeze": {"through": "stem"}, "lr": 30.0}]
    record = finetune(tiny_recipe(tmp_path, phases=spoiled, metric="loss"), out=tmp_path / "run")
    losses = [epoch.val_loss for epoch in record.epochs]
    assert record.best["epoch"] == losses.index(min(losses)) + 1
    assert record.best["phase"] == 1
    assert min(losses) < min(losses[EPOCHS:])
    alone = finetune(tiny_recipe(tmp_path, phases=phases(), metric="loss"), out=tmp_path / "alone")
    best, best_alone = (tmp_path / name / "checkpoints/best.safetensors" for name in ("run", "alone"))
    assert best.read_bytes() == best_alone.read_bytes()
    assert record.evaluations == alone.evaluations
    assert record.evaluations[0].loss == pytest.approx(min(losses))


@pytest.mark.recipe
@pytest.mark.parametrize("patience", [1, 2])
def test_patience_ends_a_phase_and_not_the_run(patience: int, tmp_path: Path) -> None:
    # At this rate nothing ever gets better after the first epoch.
    still = {"epochs": 9, "freeze": "all", "lr": 1e-30}
    recipe = tiny_recipe(tmp_path, phases=[still, {**still, "epochs": 1}], patience=patience)
    record = finetune(recipe, out=tmp_path / "run")
    assert [(phase.epochs_asked, phase.epochs_done, phase.stopped_early) for phase in record.phases] == [
        (9, 1 + patience, True),
        (1, 1, False),
    ]
    assert record.best["epoch"] == 1


def an_epoch(number: int, **found: Any) -> EpochRecord:
    return EpochRecord(epoch=number, phase=1, train_loss=1.0, lr=0.1, seconds=1.0, **found)


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        pytest.param("accuracy", [0.5, 0.7, 0.7, 0.6], 2, id="higher is better, the first of equals"),
        pytest.param("loss", [0.5, 0.3, 0.3, 0.4], 2, id="for the loss lower is better"),
        pytest.param("accuracy", [0.0, 0.0], 1, id="zero is a value"),
        pytest.param("accuracy", [None, None], 0, id="without validation none is best"),
    ],
)
def test_which_epoch_is_best(metric: str, values: list[float | None], best: int) -> None:
    found = Best(metric=metric)
    for number, value in enumerate(values, 1):
        measured = {} if value is None else {"val_loss": value, "metrics": {"accuracy": value}}
        found.improves(an_epoch(number, **measured))
    assert found.epoch == best
    assert found.value == (values[best - 1] if best else None)


@pytest.mark.recipe
def test_without_validation_the_last_epoch_is_the_result(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, "data.val=null", "data.test=0.25")
    record = finetune(recipe, out=tmp_path / "run")
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["last.safetensors"]
    assert record.best == {"epoch": 2, "phase": 1, "metrics": {}, "by": "last epoch"}
    assert [(evaluation.split, evaluation.samples) for evaluation in record.evaluations] == [("test", 6)]
    assert all(epoch.val_loss is None and not epoch.metrics for epoch in record.epochs)


@pytest.mark.recipe
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_small_batches_together_are_the_steps_of_large_ones(weights: str, tmp_path: Path) -> None:
    """18 pictures: the last step of an epoch has fewer in both."""
    losses = []
    for name, batch_size, accumulate in (("large", 8, 1), ("small", 2, 4)):
        keys: dict[str, Any] = {"loss": {"class_weights": weights}, "replay": "off"}
        recipe = tiny_recipe(
            tmp_path, phases=phases(freeze="all"), batch_size=batch_size, accumulate=accumulate, **keys
        )
        record = finetune(recipe, out=tmp_path / name)
        losses.append([epoch.val_loss for epoch in record.epochs])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    found = [load_file(tmp_path / name / "checkpoints/last.safetensors") for name in ("large", "small")]
    for key, tensor in found[0].items():
        torch.testing.assert_close(found[1][key], tensor, rtol=1e-4, atol=1e-5)
