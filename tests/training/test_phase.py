"""The loop against one written by hand: the same bits with SGD, the same numbers with AdamW and a cosine."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from frostline.errors import ProofError
from frostline.recipe import assemble, finetune, load_recipe
from frostline.record import EpochRecord, RunRecord
from frostline.training import Best
from training.tiny import SIDE, Twin, read_pictures, tiny_recipe, train_by_hand, twin_at_start, write_recipe

SEED = 3
# What `through: stem` leaves to train, with the weight decay of each: norms and biases have none.
TRAINED = {"conv2.weight": 1.0, "bn2.weight": 0.0, "bn2.bias": 0.0, "fc.weight": 1.0, "fc.bias": 0.0}
EPOCHS = 3
STEPS = 5  # 18 pictures in batches of 4


def by_hand(
    recipe_file: Path,
    twin: Twin,
    *,
    optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer],
    lr: Callable[[int], float],
    decay: float = 0.0,
    epochs: int = EPOCHS,
    phase: int = 1,
    **more: Any,
) -> torch.optim.Optimizer:
    samples = assemble(load_recipe(str(recipe_file))).data.train
    return train_by_hand(
        twin,
        images=read_pictures(samples.paths),
        labels=torch.from_numpy(samples.labels),
        trained={name: factor * decay for name, factor in TRAINED.items()},
        optimizer=optimizer,
        lr=lr,
        epochs=epochs,
        order_seed=SEED + phase,
        **more,
    )


def phases(**changes: Any) -> list[dict[str, Any]]:
    return [{"epochs": EPOCHS, "freeze": {"through": "stem"}, "lr": 0.05, **changes}]


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
def test_losses_and_metrics_are_those_of_the_samples(tmp_path: Path) -> None:
    """The last batch is smaller than the others, and counts for as many samples as it has."""
    recipe = tiny_recipe(tmp_path, phases=phases(epochs=1, lr=1e-30), batch_size=7)
    record = finetune(recipe, out=tmp_path / "run")
    twin = Twin()
    twin.load_state_dict(load_file(tmp_path / "run/checkpoints/best.safetensors"))
    twin.eval()
    samples = assemble(recipe).data.val
    assert samples is not None
    labels = torch.from_numpy(samples.labels)
    with torch.no_grad():
        logits = twin(read_pictures(samples.paths))
    loss = -logits.log_softmax(1)[torch.arange(len(labels)), labels].mean()
    right = (logits.argmax(1) == labels).float().mean()
    (epoch,) = record.epochs
    assert epoch.val_loss == pytest.approx(float(loss), rel=1e-5)
    assert epoch.metrics["accuracy"] == pytest.approx(float(right))
    assert record.evaluations[0].loss == pytest.approx(float(loss), rel=1e-5)
    # Training loss at a rate of nothing: of a network in train mode, batch by batch in the order of the seed.
    generator = torch.Generator().manual_seed(SEED + 1)
    train = assemble(recipe).data.train
    images, labels = read_pictures(train.paths), torch.from_numpy(train.labels)
    places = torch.utils.data.TensorDataset(torch.arange(len(labels)))
    start = twin_at_start(SEED).train()
    start.bn1.eval()
    sums = [
        torch.nn.functional.cross_entropy(start(images[batch]), labels[batch], reduction="sum").item()
        for (batch,) in torch.utils.data.DataLoader(places, batch_size=7, shuffle=True, generator=generator)
    ]
    assert epoch.train_loss == pytest.approx(sum(sums) / 18, rel=1e-5)


AUGMENTED: dict[str, Any] = {
    "augment": {"policy": "standard", "mixup": 0.3, "cutmix": 1.0},
    "sampling": "balanced",
    "loss": {"label_smoothing": 0.1, "class_weights": "balanced"},
    "phases": phases(epochs=2),
}


@pytest.mark.recipe
def test_an_augmented_run_repeats_to_the_bit_whatever_reads_the_pictures(tmp_path: Path) -> None:
    changes = {"first": [], "again": [], "workers": ["data.workers=2"], "other": ["seed=4"]}
    records = {
        name: finetune(tiny_recipe(tmp_path, *words, **AUGMENTED), out=tmp_path / name)
        for name, words in changes.items()
    }
    states = {name: load_file(tmp_path / name / "checkpoints/last.safetensors") for name in changes}
    for name in ("again", "workers"):
        assert [key for key, tensor in states["first"].items() if not torch.equal(states[name][key], tensor)] == []
        assert [epoch.train_loss for epoch in records[name].epochs] == [
            epoch.train_loss for epoch in records["first"].epochs
        ]
    assert not torch.equal(states["first"]["fc.weight"], states["other"]["fc.weight"])
    assert [words.partition("(")[0] for words in records["first"].augmentation] == [
        *("FramedCrop", "RandomHorizontalFlip", "ColorJitter"),
        *("MixUp", "CutMix"),
    ]
    assert records["first"].status == "finished"
    assert records["first"].proof is not None
    assert records["first"].proof["ok"]


def still(**changes: Any) -> dict[str, Any]:
    """A recipe that leaves the network as it begins: what it measures can be measured by hand."""
    return {"phases": phases(freeze="all", lr=1e-30, epochs=1), "batch_size": 18, **changes}


def logits_at_start(paths: tuple[Path, ...]) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = twin_at_start(SEED).eval()(read_pictures(paths))
    return logits


@pytest.mark.recipe
def test_validation_and_test_are_neither_augmented_nor_weighted(tmp_path: Path) -> None:
    data = {"train": "photos", "val": 0.25, "test": 0.25, "size": SIDE}
    recipe = tiny_recipe(tmp_path, data=data, **still(**{**AUGMENTED, "phases": still()["phases"]}))
    record = finetune(recipe, out=tmp_path / "run")
    parts = assemble(recipe).data
    by_hand = {}
    for name, samples in (("train", parts.train), ("val", parts.val), ("test", parts.test)):
        assert samples is not None
        logits, labels = logits_at_start(samples.paths), torch.from_numpy(samples.labels)
        by_hand[name] = float(-logits.log_softmax(1)[torch.arange(len(labels)), labels].mean())
    (epoch,) = record.epochs
    assert epoch.val_loss == pytest.approx(by_hand["val"], rel=1e-5)
    assert {one.split: one.loss for one in record.evaluations} == {
        "val": pytest.approx(by_hand["val"], rel=1e-5),
        "test": pytest.approx(by_hand["test"], rel=1e-5),
    }
    # And training was: the same network on the same pictures costs something else.
    assert epoch.train_loss != pytest.approx(by_hand["train"], rel=1e-3)


@pytest.mark.recipe
def test_the_training_loss_has_the_weights_and_smoothing_that_are_asked_for(tmp_path: Path) -> None:
    loss = {"label_smoothing": 0.3, "class_weights": {"red": 5.0, "blue": 0.5}}
    recipe = tiny_recipe(tmp_path, **still(loss=loss))
    record = finetune(recipe, out=tmp_path / "run")
    samples = assemble(recipe).data.train
    weights, total, divisor = {0: 0.5, 1: 1.0, 2: 5.0}, 0.0, 0.0
    logs_NK = logits_at_start(samples.paths).double().log_softmax(1)
    for row, label in zip(logs_NK.tolist(), samples.labels.tolist(), strict=True):
        divisor += weights[label]
        for other in range(3):
            share = 0.7 * (other == label) + 0.3 / 3
            total -= weights[other] * share * row[other]
    assert record.epochs[0].train_loss == pytest.approx(total / divisor, rel=1e-5)


@pytest.mark.recipe
def test_without_augmentation_nothing_is_recorded_of_it(tmp_path: Path) -> None:
    record = finetune(tiny_recipe(tmp_path, **still()), out=tmp_path / "run")
    assert record.augmentation == ()


@pytest.mark.recipe
def test_what_is_held_keeps_its_bits_and_what_is_trained_moves(tmp_path: Path) -> None:
    torch.manual_seed(1)
    start = Twin(num_classes=5)
    with torch.no_grad():
        start.bn1.running_mean.fill_(0.1)
        start.bn1.running_var.fill_(0.9)
        start.bn1.num_batches_tracked.fill_(7)
    save_file(start.state_dict(), tmp_path / "start.safetensors")
    words = {"name": f"{tmp_path}/net.py:Net", "weights": "start.safetensors"}
    recipe = tiny_recipe(tmp_path, model=words, phases=phases(epochs=1))
    record = finetune(recipe, out=tmp_path / "run")
    before = start.state_dict()
    for name in ("best", "last"):
        after = load_file(tmp_path / f"run/checkpoints/{name}.safetensors")
        same = {tensor for tensor in before if torch.equal(before[tensor], after[tensor])}
        assert same == {tensor for tensor in before if tensor.startswith(("conv1.", "bn1."))}
    assert record.proof is not None
    assert record.proof["ok"]


@pytest.mark.recipe
def test_norm_train_moves_statistics_of_held_parts_and_no_weight(tmp_path: Path) -> None:
    finetune(tiny_recipe(tmp_path, "norm=train"), out=tmp_path / "run")
    start, after = twin_at_start(SEED).state_dict(), load_file(tmp_path / "run/checkpoints/last.safetensors")
    for name in ("conv1.weight", "bn1.weight", "bn1.bias"):
        assert torch.equal(start[name], after[name])
    for name in ("bn1.running_mean", "bn1.running_var", "bn1.num_batches_tracked"):
        assert not torch.equal(start[name], after[name])


@pytest.mark.recipe
@pytest.mark.parametrize("weights", ["a file", "none"])
def test_norm_refill_fills_statistics_and_then_holds_them(weights: str, tmp_path: Path) -> None:
    start = twin_at_start(SEED, num_classes=5)
    model: dict[str, Any] = {"name": f"{tmp_path}/net.py:Net"}
    if weights == "a file":
        with torch.no_grad():
            start.bn1.weight.fill_(0.3)  # folded: no longer as torch makes it, and mean 0, variance 1
        save_file(start.state_dict(), tmp_path / "start.safetensors")
        model["weights"] = "start.safetensors"
    recipe = tiny_recipe(tmp_path, "norm=refill", model=model)
    record = finetune(recipe, out=tmp_path / "run")
    assert any("filled from 18 training pictures" in warning for warning in record.warnings)
    after = Twin()
    after.load_state_dict(load_file(tmp_path / "run/checkpoints/last.safetensors"))
    images = read_pictures(assemble(recipe).data.train.paths)
    with torch.no_grad():
        entering = start.conv1(images)
        mean, deviation = entering.mean((0, 2, 3)), entering.var((0, 2, 3), correction=0)
        torch.testing.assert_close(after.bn1.running_mean, mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(after.bn1.running_var, deviation, rtol=2e-3, atol=1e-4)
        same = (network.eval().bn1(network.conv1(images)) for network in (start, after))
        torch.testing.assert_close(*same, rtol=1e-4, atol=1e-4)


@pytest.mark.recipe
def test_bf16_on_the_cpu_computes_otherwise_and_holds_the_same(tmp_path: Path) -> None:
    runs = {precision: tmp_path / precision for precision in ("fp32", "bf16")}
    records = {
        precision: finetune(tiny_recipe(tmp_path, f"precision={precision}", "device=cpu", phases=phases()), out=out)
        for precision, out in runs.items()
    }
    states = {precision: load_file(out / "checkpoints/last.safetensors") for precision, out in runs.items()}
    assert torch.equal(states["fp32"]["conv1.weight"], states["bf16"]["conv1.weight"])
    assert not torch.equal(states["fp32"]["fc.weight"], states["bf16"]["fc.weight"])
    assert {tensor.dtype for tensor in states["bf16"].values()} == {torch.float32, torch.int64}
    assert records["bf16"].status == "finished"
    assert records["bf16"].proof is not None
    assert records["bf16"].proof["ok"]
    losses = [[epoch.train_loss for epoch in record.epochs] for record in records.values()]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


@pytest.mark.recipe
def test_every_phase_computes_in_bf16(tmp_path: Path) -> None:
    types = tmp_path / "types"
    told = f"def between(self, x):\n    with open('{types}', 'a') as file:\n        print(x.dtype, file=file)\n"
    told += "    return x"
    two = [*phases(epochs=1), *phases(epochs=2, lr=0.01)]
    recipe = tiny_recipe(
        tmp_path, "precision=bf16", "device=cpu", "replay=off", "data.val=null", network=told, phases=two
    )
    finetune(recipe, out=tmp_path / "run")
    steps = -(-24 // 4) * 3
    assert types.read_text().split().count("torch.bfloat16") == steps


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


@pytest.mark.recipe
def test_the_average_is_what_is_judged_and_kept_and_held_tensors_are_not_in_it(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, phases=phases(), ema=0.9, replay="off")
    record = finetune(load_recipe(str(path)), out=tmp_path / "run")
    twin = twin_at_start(SEED)
    before = {name: tensor.clone() for name, tensor in twin.state_dict().items()}
    averages = {name: tensor.clone() for name, tensor in before.items()}
    steps = 0

    class Averaged(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            nonlocal steps
            super().step(closure)
            steps += 1
            decay = min(0.9, (1 + steps) / (10 + steps))
            for name, tensor in twin.state_dict().items():
                if tensor.is_floating_point():
                    averages[name] = decay * averages[name] + (1 - decay) * tensor
                else:
                    averages[name] = tensor.clone()

    by_hand(path, twin, optimizer=lambda groups: Averaged(groups, lr=0.05, momentum=0.9), lr=lambda _: 0.05)
    found = load_file(tmp_path / "run/checkpoints/last.safetensors")
    for name, tensor in averages.items():
        if name.startswith(("conv1", "bn1")):
            assert torch.equal(found[name], before[name]), name
        else:
            torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-6)
    twin.load_state_dict({**averages, **{name: found[name] for name in before if name.startswith(("conv1", "bn1"))}})
    samples = assemble(load_recipe(str(path))).data.val
    assert samples is not None
    with torch.no_grad():
        logits = twin.eval()(read_pictures(samples.paths))
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(samples.labels)).item()
    assert record.epochs[-1].val_loss == pytest.approx(loss, rel=1e-4)
    assert record.proof is not None
    assert record.proof["ok"]


@pytest.mark.recipe
@pytest.mark.parametrize("norm", ["eval", "train"])
def test_half_weights_of_what_is_held_give_the_bits_of_casting_in_every_step(norm: str, tmp_path: Path) -> None:
    """O2 is O1 with the cast done once; afterwards what was held is what it was, to the bit."""
    two = [*phases(freeze="all"), {"epochs": 2, "freeze": {"through": "stem"}, "lr": 0.01}]
    started = load_recipe(str(write_recipe(tmp_path, phases=two)))
    before = assemble(started).model.state_dict()
    for amp in ("O1", "O2"):
        recipe = tiny_recipe(tmp_path, phases=two, precision="bf16", amp=amp, norm=norm, replay="off")
        record = finetune(recipe, out=tmp_path / amp)
        assert record.proof is not None
        assert record.proof["ok"]
    found = [load_file(tmp_path / amp / "checkpoints/last.safetensors") for amp in ("O1", "O2")]
    for name, tensor in found[0].items():
        assert found[1][name].dtype == torch.float32 or name.endswith("num_batches_tracked")
        assert torch.equal(tensor, found[1][name]), name
    assert torch.equal(found[1]["conv1.weight"], before["conv1.weight"])


@pytest.mark.recipe
def test_half_weights_are_replayed_to_what_is_computed(tmp_path: Path) -> None:
    two = [*phases(freeze={"through": "stage1"}), {"epochs": 2, "freeze": {"through": "stem"}, "lr": 0.01}]
    found = []
    for name, replay in (("off", "off"), ("on", {"dir": str(tmp_path / "store")})):
        recipe = tiny_recipe(tmp_path, phases=two, precision="bf16", amp="O2", replay=replay)
        record = finetune(recipe, out=tmp_path / name)
        found.append([epoch.val_loss for epoch in record.epochs])
    assert found[0] == pytest.approx(found[1], rel=0.05)
    assert not any("refused" in line or "off" in line for phase in record.phases for line in phase.replay)


@pytest.mark.recipe
def test_what_moves_behind_the_cast_fails_the_run(tmp_path: Path) -> None:
    network = "def before(self):\n    self.n = getattr(self, 'n', 0) + self.training\n    if self.n == 12:\n"
    network += "        self.conv1.weight.data.mul_(1.5)"
    recipe = tiny_recipe(tmp_path, phases=phases(), network=network, precision="bf16", amp="O2", replay="off")
    with pytest.raises(ProofError, match=r"conv1\.weight moved behind the cast to bfloat16"):
        finetune(recipe, out=tmp_path / "run")
