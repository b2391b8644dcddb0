"""What an epoch reports: losses and metrics of the samples, whatever is done to training pictures."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from frostline.recipe import assemble, finetune
from training.by_hand import SEED, phases
from training.tiny import SIDE, Twin, read_pictures, tiny_recipe, twin_at_start


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


CACHES = """
def begin(self):
    class Caches(nn.Linear):
        cache = None
        def train(self, mode=True):
            super().train(mode)
            if mode:
                self.cache = None
        def forward(self, x):
            if self.training:
                return super().forward(x)
            self.cache = self.weight.T.clone() if self.cache is None else self.cache
            return x @ self.cache
    self.mid = Caches(16, 16, bias=False)
    self.fc = self._modules.pop("fc")  # the last, as classifiers are

def between(self, x):
    return self.mid(x)
"""


@pytest.mark.recipe
def test_the_best_weights_are_judged_and_not_what_was_computed_of_the_last(tmp_path: Path) -> None:
    two = [{"epochs": 1, "freeze": "none", "lr": lr} for lr in (0.05, 30.0)]
    recipe = tiny_recipe(tmp_path, network=CACHES, phases=two, metric="loss")
    record = finetune(recipe, out=tmp_path / "run")
    assert record.best["epoch"] == 1
    assert record.evaluations[0].loss == pytest.approx(record.epochs[0].val_loss, rel=1e-6)


@pytest.mark.recipe
def test_a_mask_of_infinities_is_no_fault(tmp_path: Path) -> None:
    network = "def begin(self):\n    self.register_buffer('mask', torch.full((3, 3), -torch.inf).triu(1))"
    record = finetune(tiny_recipe(tmp_path, network=network, phases=phases(epochs=1)), out=tmp_path / "run")
    assert record.status == "finished"


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
