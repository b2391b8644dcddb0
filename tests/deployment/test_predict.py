"""A finished run at work: probabilities as in a loop by hand, metrics as scikit-learn has them, bad pictures named."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn import metrics as sklearn

from frostline.deployment import Trained, evaluate_run, load_run, predict_folder
from frostline.deployment.predict import BATCH_SIZE
from frostline.errors import DataError, RunFailure
from frostline.recipe import finetune
from training.tiny import CLASSES, Twin, read_pictures, tiny_recipe, write_pictures

pytestmark = pytest.mark.recipe


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run that was augmented, weighted and smoothed: nothing of that may show in what it says."""
    folder = tmp_path_factory.mktemp("predict")
    changes = {"augment": {"policy": "strong", "mixup": 0.2}, "loss": {"label_smoothing": 0.2}, "sampling": "balanced"}
    finetune(tiny_recipe(folder, "phases.0.epochs=1", **changes), out=folder / "run")
    return load_run(folder / "run")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More pictures than fit into one batch, of two of the classes, that the run has never seen."""
    return write_pictures(tmp_path_factory.mktemp("new"), classes=["blue", "red"], count=BATCH_SIZE // 2 + 3, seed=8)


def logits_by_hand(trained: Trained, paths: list[Path]) -> torch.Tensor:
    twin = Twin().eval()
    twin.load_state_dict(load_file(trained.checkpoint))
    with torch.no_grad():
        return torch.cat([twin(read_pictures([path])) for path in paths])


def test_probabilities_are_those_of_a_loop_by_hand(trained: Trained, folder: Path) -> None:
    found = list(predict_folder(trained, folder))
    paths = sorted(folder.rglob("*.png"))
    assert [Path(seen.name) for seen in found] == paths
    assert len(found) > BATCH_SIZE
    for seen, row in zip(found, logits_by_hand(trained, paths).tolist(), strict=True):
        shares = [math.exp(value) / math.fsum(map(math.exp, row)) for value in row]
        assert seen.probabilities == pytest.approx(shares, abs=1e-5)
        assert sum(seen.probabilities) == pytest.approx(1)
        assert seen.predicted == CLASSES[max(range(3), key=seen.probabilities.__getitem__)]
        assert seen.fault is None


def test_predictions_and_evaluation_are_of_one_mind_and_scikit_learns(trained: Trained, folder: Path) -> None:
    predicted = [seen.predicted for seen in predict_folder(trained, folder)]
    paths = sorted(folder.rglob("*.png"))
    truth = [path.parent.name for path in paths]
    evaluation, skipped, _ = evaluate_run(trained, folder)
    assert skipped == ()
    assert (evaluation.samples, evaluation.split) == (len(paths), str(folder))
    matrix = sklearn.confusion_matrix(truth, predicted, labels=CLASSES)
    assert evaluation.confusion == tuple(map(tuple, matrix.tolist()))
    assert evaluation.metrics["accuracy"] == pytest.approx(sklearn.accuracy_score(truth, predicted))
    logits = logits_by_hand(trained, paths)
    labels = torch.tensor([CLASSES.index(name) for name in truth])
    # Neither smoothed nor weighted, whatever the training was.
    loss = -logits.log_softmax(1)[torch.arange(len(labels)), labels].mean()
    assert evaluation.loss == pytest.approx(float(loss), rel=1e-4)
    wrong = [path for path, seen, name in zip(paths, predicted, truth, strict=True) if seen != name]
    assert {Path(mistake.sample) for mistake in evaluation.mistakes} <= set(wrong)
    assert len(evaluation.mistakes) == min(12, len(wrong))


def test_the_network_is_left_as_it_was(trained: Trained, folder: Path) -> None:
    before = {name: tensor.clone() for name, tensor in trained.model.state_dict().items()}
    list(predict_folder(trained, folder))
    evaluate_run(trained, folder)
    assert all(torch.equal(before[name], tensor) for name, tensor in trained.model.state_dict().items())
    assert not any(module.training for module in trained.model.modules())


def spoilt(folder: Path) -> Path:
    """Four good pictures of two classes, and three bad ones between them."""
    write_pictures(folder, classes=["blue", "red"], count=2, seed=5)
    (folder / "blue/00.png").touch()
    (folder / "blue/1x.png").write_bytes((folder / "blue/1.png").read_bytes()[:70])
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(folder / "red/9.png")
    return folder


def test_a_bad_picture_is_a_fault_and_the_others_go_on(trained: Trained, tmp_path: Path) -> None:
    found = {Path(seen.name).name: seen for seen in predict_folder(trained, spoilt(tmp_path) / "blue")}
    assert list(found) == ["0.png", "00.png", "1.png", "1x.png"]
    for name in ("00.png", "1x.png"):
        assert (found[name].predicted, found[name].probabilities) == (None, ())
        assert found[name].fault
    assert "empty: zero bytes" in str(found["00.png"].fault)
    good = [tmp_path / "blue/0.png", tmp_path / "blue/1.png"]
    wanted = logits_by_hand(trained, good).softmax(1).tolist()
    for path, shares in zip(good, wanted, strict=True):
        assert found[path.name].probabilities == pytest.approx(shares, abs=1e-5)


def test_bad_pictures_alone_are_faults_alone(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (seen,) = predict_folder(trained, tmp_path)
    assert (seen.predicted, seen.fault) == (None, "it cannot be read (empty: zero bytes)")


def test_links_that_are_not_followed_are_faults(trained: Trained, folder: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path, classes=["blue"], count=1)
    (tmp_path / "blue/away.png").symlink_to(folder / "blue/0.png")
    good, bad = predict_folder(trained, tmp_path)
    assert (Path(good.name).name, good.fault) == ("0.png", None)
    assert (Path(bad.name).name, bad.predicted) == ("away.png", None)
    assert "a link out of the folder" in str(bad.fault)


def test_one_picture_is_enough(trained: Trained, folder: Path) -> None:
    (seen,) = predict_folder(trained, folder / "red/0.png")
    (row,) = logits_by_hand(trained, [folder / "red/0.png"]).softmax(1).tolist()
    assert seen.probabilities == pytest.approx(row, abs=1e-5)


@pytest.mark.parametrize(("name", "says"), [("nowhere", "no such folder or file"), (".", "no pictures in it")])
def test_nothing_to_look_at_is_told_before_the_first_prediction(
    name: str, says: str, trained: Trained, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=says):
        predict_folder(trained, tmp_path / name)


def test_evaluating_stops_at_bad_pictures_or_counts_them(trained: Trained, tmp_path: Path) -> None:
    spoilt(tmp_path)
    for on_bad in (None, "stop"):
        with pytest.raises(DataError, match="3 pictures cannot be used") as caught:
            evaluate_run(trained, tmp_path, on_bad=on_bad)
        assert len(caught.value.items) == 3
    evaluation, skipped, _ = evaluate_run(trained, tmp_path, on_bad="skip")
    assert evaluation.samples == sum(map(sum, evaluation.confusion)) == 4
    assert {Path(one.name).name for one in skipped} == {"00.png", "1x.png", "9.png"}
    assert all(one.reason for one in skipped)


def test_classes_that_the_run_does_not_know(trained: Trained, tmp_path: Path) -> None:
    write_pictures(tmp_path, classes=["blue", "violet"], count=1)
    with pytest.raises(DataError, match="violet"):
        evaluate_run(trained, tmp_path)


def without_memory_for(most: int, monkeypatch: pytest.MonkeyPatch, trained: Trained) -> None:
    """Let the network run out of memory for more pictures than that."""
    own = trained.model.forward

    def forward(images: torch.Tensor) -> torch.Tensor:
        if len(images) > most:
            raise torch.OutOfMemoryError("out of memory")
        return own(images)

    monkeypatch.setattr(trained.model, "forward", forward)


def test_with_little_memory_there_are_fewer_pictures_at_once(
    trained: Trained, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, judged = list(predict_folder(trained, folder)), evaluate_run(trained, folder)[0]
    without_memory_for(3, monkeypatch, trained)
    for now, before in zip(predict_folder(trained, folder), seen, strict=True):
        assert (now.name, now.predicted) == (before.name, before.predicted)
        assert now.probabilities == pytest.approx(before.probabilities, abs=1e-6)
    assert evaluate_run(trained, folder)[0].confusion == judged.confusion
    without_memory_for(0, monkeypatch, trained)
    for work in (lambda: list(predict_folder(trained, folder)), lambda: evaluate_run(trained, folder)):
        with pytest.raises(RunFailure, match=r"no memory for one sample \(out of memory\)"):
            work()


def test_columns_are_named_on_the_command_line_and_where_there_are_some(trained: Trained, tmp_path: Path) -> None:
    write_pictures(tmp_path / "new", count=1)
    names = {"path": "img", "label": "kind"}
    with pytest.raises(DataError, match=r"no CSV file and no data set, .* leave `--columns`"):
        evaluate_run(trained, tmp_path / "new", columns=names)
    (tmp_path / "new.csv").write_text("img,kind\nnew/red/0.png,red\n")
    with pytest.raises(DataError, match=r"name both: `--columns PATH,LABEL`"):
        evaluate_run(trained, tmp_path / "new.csv")
    assert evaluate_run(trained, tmp_path / "new.csv", columns=names)[0].samples == 1
