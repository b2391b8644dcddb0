"""The task `images`: metrics as scikit-learn has them, a loss as written by hand, batches in an order by seed."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn import metrics as sklearn

from frostline.backbones import InputSpec
from frostline.data import Augment, Mix, Samples, policy, read_samples
from frostline.data.pictures import read_picture
from frostline.errors import DataError, NetworkError, UserError
from frostline.tasks import ImageTask, scores
from networks import SmallResNet

SPEC = InputSpec(size_px=8, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
GREY = InputSpec(size_px=4, mean=(0.5,), std=(0.25,), channels="grey")


def task_of(classes, *, batch_size=4, spec=GREY, workers=0, **changes):
    names = tuple(f"c{label}" for label in range(classes))
    return ImageTask(classes=names, spec=spec, batch_size=batch_size, workers=workers, **changes)


def in_memory(count, *, classes=3):
    return Samples(
        source="made",
        classes=tuple(f"c{label}" for label in range(classes)),
        labels=np.arange(count) % classes,
        pixels=np.random.default_rng(0).random((count, 4, 4), dtype=np.float32),
    )


@settings(max_examples=80, deadline=None, derandomize=True)
@given(classes=st.integers(2, 6), data=st.data(), seed=st.integers(0, 10**6))
def test_metrics_are_those_of_scikit_learn(classes, data, seed):
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=30))
    logits = torch.randn(len(labels), classes, generator=torch.Generator().manual_seed(seed))
    predicted = [max(range(classes), key=row.__getitem__) for row in logits.tolist()]
    given_metrics = task_of(classes).metrics(logits, torch.tensor(labels))
    assert given_metrics.keys() == {"accuracy", "balanced_accuracy", "macro_f1"}
    assert given_metrics["accuracy"] == pytest.approx(sklearn.accuracy_score(labels, predicted), abs=1e-6)
    recalls = sklearn.recall_score(labels, predicted, labels=sorted(set(labels)), average="macro", zero_division=0)
    assert given_metrics["balanced_accuracy"] == pytest.approx(recalls, abs=1e-6)
    wanted_f1 = sklearn.f1_score(labels, predicted, average="macro", zero_division=0)
    assert given_metrics["macro_f1"] == pytest.approx(wanted_f1, abs=1e-6)
    matrix = sklearn.confusion_matrix(labels, predicted, labels=range(classes))
    assert task_of(classes).confusion(logits, torch.tensor(labels)) == tuple(map(tuple, matrix.tolist()))
    if set(predicted) <= set(labels) and len(set(labels)) > 1:  # else scikit-learn warns
        wanted = sklearn.balanced_accuracy_score(labels, predicted)
        assert given_metrics["balanced_accuracy"] == pytest.approx(wanted, abs=1e-6)


def test_a_class_without_samples_has_no_recall():
    logits = torch.eye(3)[torch.tensor([0, 0, 1, 2])]
    seen = task_of(3).metrics(logits, torch.tensor([0, 0, 1, 1]))
    assert seen["balanced_accuracy"] == pytest.approx((1 + 0.5) / 2)


def test_rows_of_the_confusion_are_the_truth():
    logits = torch.eye(2)[torch.tensor([1, 1, 1, 0])]
    assert task_of(2).confusion(logits, torch.tensor([0, 0, 1, 1])) == ((0, 2), (1, 1))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    logits=st.lists(st.lists(st.floats(-50, 50, width=32), min_size=3, max_size=3), min_size=1, max_size=8),
    data=st.data(),
)
def test_the_loss_is_the_mean_cross_entropy_computed_by_hand(logits, data):
    labels = [data.draw(st.integers(0, 2)) for _ in logits]
    wanted = 0.0
    for row, label in zip(logits, labels, strict=True):
        most = max(row)
        wanted += (most + math.log(math.fsum(math.exp(value - most) for value in row)) - row[label]) / len(logits)
    loss = task_of(3).loss(torch.tensor(logits), torch.tensor(labels))
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(wanted, rel=1e-5, abs=1e-5)


def test_the_loss_of_half_precision_is_computed_in_single():
    logits, labels = torch.randn(64, 5).bfloat16(), torch.arange(64) % 5
    loss = task_of(5).loss(logits, labels)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(task_of(5).loss(logits.double(), labels)), rel=1e-6)


def test_the_loss_of_a_batch_is_that_of_the_networks_logits():
    network = SmallResNet().eval()
    batch = (torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]), torch.arange(4))
    task = task_of(3, spec=SPEC)
    loss = task.batch_loss(network, batch)
    assert torch.equal(loss, task.loss(network(batch[0]), batch[1]))
    loss.backward()
    assert network.conv1.weight.grad is not None


def loss_by_hand(logits, shares, *, smoothing, weights):
    """Cross-entropy in double precision, share by share: Szegedy et al., arXiv:1512.00567, section 7."""
    total = 0.0
    for row, share_K in zip(logits.tolist(), shares, strict=True):
        most = max(row)
        log_sum = most + math.log(math.fsum(math.exp(value - most) for value in row))
        for label, share in enumerate(share_K):
            smoothed = (1 - smoothing) * share + smoothing / len(row)
            total += weights[label] * smoothed * (log_sum - row[label])
    return total


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 4.0]])
def test_the_training_loss_is_that_of_a_loop_in_double_precision(smoothing, weights):
    generator = torch.Generator().manual_seed(3)
    logits, labels = torch.randn(9, 3, generator=generator) * 3, torch.tensor([0, 1, 2, 0, 0, 1, 2, 2, 2])
    task = task_of(3, label_smoothing=smoothing, class_weights=None if weights is None else torch.tensor(weights))
    by_class = weights or [1.0] * 3
    total = loss_by_hand(logits, np.eye(3)[labels].tolist(), smoothing=smoothing, weights=by_class)
    # The mean counts each sample as its class does.
    wanted = total / sum(by_class[label] for label in labels)
    assert float(task.loss(logits, labels)) == pytest.approx(wanted, rel=1e-5)
    # Of mixed pictures each counts as its shares do, so that shares of 0 and 1 cost what labels cost.
    shares = torch.rand(9, 3, generator=generator)
    shares /= shares.sum(1, keepdim=True)
    total = loss_by_hand(logits, shares.tolist(), smoothing=smoothing, weights=by_class)
    wanted = total / float((shares @ torch.tensor(by_class)).sum())
    assert float(task.loss(logits, shares)) == pytest.approx(wanted, rel=1e-5)
    hard = torch.nn.functional.one_hot(labels, 3).float()
    assert float(task.loss(logits, hard)) == pytest.approx(float(task.loss(logits, labels)), rel=1e-5)


def test_what_is_judged_costs_the_same_however_it_was_trained():
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 0, 1])
    changed = task_of(3, label_smoothing=0.3, class_weights=torch.tensor([9.0, 1.0, 1.0]))
    assert not torch.equal(changed.loss(logits, labels), task_of(3).loss(logits, labels))
    for task in (changed, task_of(3)):
        assert torch.equal(task.judged_loss(logits, labels), task_of(3).loss(logits, labels))


def test_mixed_batches_have_labels_in_shares_and_places_as_they_were():
    batch = (torch.randn(4, 1, 4, 4), torch.tensor([0, 1, 2, 0]), torch.arange(4))
    assert task_of(3).mixed(batch, seed=(1, 2)) is batch
    assert task_of(3).labels(batch) is batch[1]
    mix = Mix(mixup=1.0, cutmix=1.0, num_classes=3)
    task = task_of(3, mix=mix)
    images, shares, places = mixed = task.mixed(batch, seed=(1, 2))
    assert places is batch[2]
    assert images.shape == batch[0].shape
    torch.testing.assert_close(shares.sum(1), torch.ones(4))
    assert task.labels(mixed).tolist() == [max(range(3), key=row.__getitem__) for row in shares.tolist()]
    assert torch.equal(task.mixed(batch, seed=(1, 2))[0], images)
    assert not torch.equal(task.mixed(batch, seed=(1, 3))[0], images)


@pytest.mark.parametrize("output", [(torch.eye(2),), {"logits": torch.eye(2), "aux": None}, [torch.eye(2), 1]])
def test_scores_are_the_first_tensor_that_a_network_gives(output):
    assert torch.equal(scores(output), torch.eye(2))


def test_an_output_without_a_tensor_is_no_score():
    with pytest.raises(NetworkError, match="the network's output: dict without a tensor"):
        scores({"logits": "none"})


def places(loader):
    return [place for _, _, batch in loader for place in batch.tolist()]


def test_batches_hold_all_samples_in_their_order_without_a_seed():
    samples, task = in_memory(10), task_of(3)
    batches = list(task.loader(samples))
    assert [len(labels) for _, labels, _ in batches] == [4, 4, 2]
    assert places(task.loader(samples)) == list(range(10))
    images = torch.cat([images for images, _, _ in batches])
    assert torch.equal(torch.cat(list(task.inputs(samples))), images)
    np.testing.assert_allclose(images[:, 0].numpy(), (samples.pixels - 0.5) / 0.25, rtol=1e-6, atol=1e-6)
    assert torch.cat([labels for _, labels, _ in batches]).tolist() == samples.labels.tolist()
    assert images.shape == (10, 1, 4, 4)


def test_the_order_is_that_of_the_seed_and_another_in_every_epoch():
    samples, task = in_memory(40), task_of(3)
    loader = task.loader(samples, seed=5)
    first, second = places(loader), places(loader)
    assert first != second
    assert sorted(first) == sorted(second) == list(range(40))
    torch.rand(7)  # what else draws does not matter
    again = task.loader(samples, seed=5)
    assert [places(again), places(again)] == [first, second]
    assert places(task.loader(samples, seed=6)) != first


def drawn(samples, *, seed=5, epochs=2, **changes):
    """The images of some epochs in the order in which they were drawn, and their places."""
    loader = task_of(3, spec=SPEC, augment=Augment(policy("strong", flip="both", spec=SPEC), SPEC), **changes).loader(
        samples, seed=seed
    )
    seen = []
    for _ in range(epochs):
        batches = list(loader)
        seen.append((torch.cat([images for images, _, _ in batches]), [int(p) for *_, own in batches for p in own]))
    return seen


@pytest.mark.parametrize("sampling", ["shuffled", "balanced"])
def test_training_pictures_are_the_same_bits_whatever_reads_them_and_in_whatever_batches(sampling):
    samples = in_memory(14)
    first, second = seen = drawn(samples, sampling=sampling)
    for changes in ({}, {"batch_size": 3}, {"batch_size": 14}, {"workers": 2}):
        for (images, order), (others, other_order) in zip(
            seen, drawn(samples, sampling=sampling, **changes), strict=True
        ):
            assert order == other_order
            assert torch.equal(images, others)
    assert first[1] != second[1]
    ((other, _),) = drawn(samples, sampling=sampling, seed=6, epochs=1)
    assert not torch.equal(first[0], other)


def test_a_picture_changes_anew_in_every_epoch_and_draw():
    ((first, order), (second, again)) = drawn(in_memory(6), sampling="balanced", epochs=2)
    images = [image.numpy().tobytes() for image in (*first, *second)]
    assert len({*order, *again}) < len(images)
    assert len(set(images)) == len(images)


def test_what_judges_is_never_changed():
    samples, augment = in_memory(6), Augment(policy("strong", flip="both", spec=GREY), GREY)
    plain, changing = task_of(3), task_of(3, augment=augment, sampling="balanced")
    assert torch.equal(next(iter(changing.loader(samples)))[0], next(iter(plain.loader(samples)))[0])
    assert torch.equal(next(changing.inputs(samples)), next(plain.inputs(samples)))
    shuffled = {tuple(places(changing.loader(samples))) for _ in range(3)}
    assert shuffled == {tuple(range(6))}


def test_a_last_batch_of_one_is_left_out_of_training_alone():
    loader = task_of(3, batch_size=4).loader(in_memory(9), seed=1)
    assert [len(labels) for _, labels, _ in loader] == [4, 4]
    assert [len(labels) for _, labels, _ in task_of(3, batch_size=4).loader(in_memory(9))] == [4, 4, 1]
    assert [len(labels) for _, labels, _ in task_of(3, batch_size=4).loader(in_memory(1), seed=1)] == [1]


def test_loading_for_training_leaves_torchs_random_state():
    loader = task_of(3, augment=Augment(["RandomInvert"], GREY)).loader(in_memory(9), seed=1)
    before = torch.random.get_rng_state()
    assert len(list(loader)) == len(list(loader)) == 2
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_shuffled_sample_keeps_its_label():
    samples = in_memory(40)
    for images, labels, batch in task_of(3).loader(samples, seed=1):
        assert labels.tolist() == samples.labels[batch.numpy()].tolist()
        np.testing.assert_allclose(images[:, 0].numpy() * 0.25 + 0.5, samples.pixels[batch.numpy()], atol=1e-6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made, draw = tmp_path_factory.mktemp("photos"), np.random.default_rng(2)
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        (made / name).parent.mkdir(exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(made / name)
    return made


@pytest.mark.parametrize("workers", [0, 1])
def test_picture_files_are_loaded_also_by_other_processes(folder, workers):
    samples = read_samples(folder, classes=("cat", "dog"))
    (images, labels, batch), *rest = task_of(2, spec=SPEC, workers=workers).loader(samples)
    assert rest == []
    assert (labels.tolist(), batch.tolist()) == ([0, 0, 1], [0, 1, 2])
    for image, path in zip(images, samples.paths, strict=True):
        assert torch.equal(image, read_picture(path, SPEC))


def test_a_damaged_picture_is_an_error_of_ours_while_loading(tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    samples = Samples(source="made", classes=("cat",), labels=np.zeros(1, dtype=np.int64), paths=(bad,))
    with pytest.raises(DataError, match=r"/bad\.png: it cannot be read"):
        list(task_of(1, spec=SPEC).loader(samples))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_that_cannot_pass_a_transform_is_named(tmp_path, workers):
    for name, side in (("a", 9), ("b", 5)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (side, side)).save(tmp_path / name / "one.png")
    augment = Augment([{"RandomCrop": {"size": [8, 8]}}], SPEC)
    task = ImageTask(classes=("a", "b"), spec=SPEC, batch_size=1, workers=workers, augment=augment)
    with pytest.raises(UserError, match=r"b/one\.png cannot pass it .*crop size"):
        list(task.loader(read_samples(tmp_path), seed=0))


def test_a_crop_by_pixels_sees_large_pictures_as_they_are_and_one_by_share_may_see_them_reduced(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    Image.new("L", (400, 400)).save(tmp_path / "a" / "large.jpg")
    Image.new("L", (4, 4)).save(tmp_path / "b" / "small.jpg")
    assert Augment(["RandomCrop"], GREY).at_least_px is None
    assert Augment(policy("light", flip="none", spec=GREY), GREY).at_least_px == GREY.size_px
    samples = read_samples(tmp_path)
    assert samples.open(0, at_least_px=None).size == (400, 400)
    assert samples.open(0, at_least_px=GREY.size_px).size < (400, 400)
