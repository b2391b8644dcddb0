"""A finished run on texts at work: held to transformers alone, on what it exports and with its own tokenizer."""

import csv
import shutil
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from sklearn import metrics as sklearn

from cli.commands import Call, caller
from frostline.deployment import Trained, evaluate_run, export_run, load_run, predict_folder, predict_texts
from frostline.errors import DataError, RunError
from frostline.recipe import finetune, load_recipe
from training.tiny_texts import save_network, text_recipe, text_rows, write_texts

pytestmark = pytest.mark.recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    write_texts(folder / "texts.csv", text_rows(90, longest=30))
    finetune(text_recipe(folder, phases=[{"epochs": 2, "freeze": "none", "lr": 0.1}]), out=folder / "run")
    # What it was trained with may go away: the run has kept it.
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / "net" / name).unlink()
    return folder / "run"


@pytest.fixture(scope="module")
def trained(run: Path) -> Trained:
    return load_run(run)


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_run(run, to=tmp_path_factory.mktemp("exported") / "here").folder


ROWS = text_rows(70, seed=9, longest=25)


def by_transformers(exported: Path, texts: list[str]) -> np.ndarray:
    """Probabilities N × K by what somebody has who has no frostline, one text at a time."""
    folder = exported / "huggingface"
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    words = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return np.stack([model(**words(text, return_tensors="pt")).logits[0].softmax(0).numpy() for text in texts])


def test_predictions_are_those_of_transformers_alone(trained: Trained, exported: Path, tmp_path: Path) -> None:
    table = write_texts(tmp_path / "new.csv", ROWS)
    found = list(predict_texts(trained, table))
    assert [seen.text for seen in found] == [text for text, _ in ROWS]
    assert found[4].name == f"{table}:6"
    wanted_NK = by_transformers(exported, [text for text, _ in ROWS])
    np.testing.assert_allclose([seen.probabilities for seen in found], wanted_NK, atol=1e-5)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(exported / "huggingface")
    assert [seen.predicted for seen in found] == [model.config.id2label[int(row.argmax())] for row in wanted_NK]


def test_evaluation_is_scikit_learns(trained: Trained, tmp_path: Path) -> None:
    table = write_texts(tmp_path / "new.jsonl", ROWS)
    judged, skipped, _ = evaluate_run(trained, table)
    predicted = [seen.predicted for seen in predict_texts(trained, table)]
    truth = [label for _, label in ROWS]
    assert skipped == ()
    matrix = sklearn.confusion_matrix(truth, predicted, labels=list(trained.classes))
    assert judged.confusion == tuple(map(tuple, matrix.tolist()))
    assert judged.metrics["macro_f1"] == pytest.approx(sklearn.f1_score(truth, predicted, average="macro"), abs=1e-6)
    assert all(mistake.text in dict(ROWS) and not mistake.picture for mistake in judged.mistakes)


def test_the_exported_onnx_takes_texts_of_any_length(exported: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = runtime.InferenceSession(str(exported / "model.onnx"))
    words = transformers.AutoTokenizer.from_pretrained(exported / "tokenizer")
    for count in (1, 5):
        texts = [text for text, _ in ROWS[:count]]
        given = words(texts, padding=True, return_tensors="np")
        (scores,) = session.run(["scores"], {name.name: given[name.name] for name in session.get_inputs()})
        shares = torch.from_numpy(scores).softmax(1).numpy()
        np.testing.assert_allclose(shares, by_transformers(exported, texts), atol=1e-4)


def test_an_empty_text_is_a_fault_and_the_others_go_on(trained: Trained, tmp_path: Path) -> None:
    table = write_texts(tmp_path / "new.csv", [("plastic", "card"), ("", "card"), ("coins", "money")])
    found = list(predict_texts(trained, table))
    assert [(seen.fault, seen.predicted is None) for seen in found] == [(None, False), ("no text", True), (None, False)]


def test_a_run_without_its_tokenizer_and_with_another(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    words = tmp_path / "run/tokenizer/tokenizer.json"
    words.write_text(words.read_text().replace('"plastic"', '"paper"'))
    with pytest.raises(RunError, match="is not the one that the run was trained with"):
        load_run(tmp_path / "run")
    shutil.rmtree(words.parent)
    with pytest.raises(RunError, match="its tokenizer"):
        load_run(tmp_path / "run")


def test_pictures_and_texts_are_told_apart(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a run that reads texts"):
        predict_folder(trained, tmp_path)


@pytest.fixture
def frostline(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(monkeypatch, capsys)


def test_the_commands(run: Path, frostline: Call, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("\n".join(text for text, _ in ROWS[:3]))
    done = frostline("predict", run, tmp_path / "new.txt")
    rows = list(csv.DictReader(StringIO(done.out)))
    assert (done.code, [row["text"] for row in rows]) == (0, [text for text, _ in ROWS[:3]])
    assert list(rows[0]) == ["place", "text", "class", "probability", "card", "money", "travel", "fault"]
    assert (
        frostline("predict", run, tmp_path / "new.txt", "--to", tmp_path / "a.csv").out
        == f"3 texts: {tmp_path}/a.csv\n"
    )
    (tmp_path / "own.csv").write_text("words,kind\nplastic,card\ncoins,money\n")
    assert "--column NAME" in frostline("predict", run, tmp_path / "own.csv").err
    assert frostline("predict", run, tmp_path / "own.csv", "--column", "words").code == 0
    judged = frostline("evaluate", run, tmp_path / "own.csv", "--columns", "words,kind")
    assert judged.out.startswith(f"2 texts in {tmp_path}/own.csv: accuracy")
    page = (run / "report.html").read_text()
    assert 'class="gallery of-texts"' in page


def test_a_new_recipe_for_texts(frostline: Call, tmp_path: Path) -> None:
    table = write_texts(tmp_path / "texts.csv")
    done = frostline("recipe", "new", table, "--to", tmp_path / "a.yaml")
    assert (done.code, "taken for text, by what is there; `--task images` writes the other" in done.out) == (0, True)
    (tmp_path / "own.csv").write_text("tweet,mood\nhello,good\nwell,bad\n")
    assert frostline("recipe", "new", tmp_path / "own.csv", "--to", tmp_path / "b.yaml", "--task", "text").code == 0
    assert "task: text" in (tmp_path / "b.yaml").read_text()
    assert frostline("recipe", "new", table, "--to", tmp_path / "c.yaml", "--task", "sound").code == 2
    assert "task: text" in (tmp_path / "a.yaml").read_text()
    (tmp_path / "lines.txt").write_text("hello\nwell\n")
    done = frostline("recipe", "new", tmp_path / "lines.txt", "--to", tmp_path / "d.yaml")
    assert (done.code, "taken for masked_text" in done.out) == (0, True)
    assert load_recipe(str(tmp_path / "d.yaml")).task == "masked_text"
    shown = frostline("recipe", "show", tmp_path / "a.yaml")
    assert (shown.code, "task: text" in shown.out) == (0, True)


def test_the_outline_of_a_network_for_texts(frostline: Call, tmp_path: Path) -> None:
    shown = frostline("outline", f"hf/{save_network(tmp_path)}")
    assert shown.code == 0
    assert [line.split()[0] for line in shown.out.splitlines()[2:]] == ["stem", "block1", "block2", "head"]
