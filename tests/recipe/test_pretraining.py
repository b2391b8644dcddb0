"""`pretrain`: a run on masked words, and one that goes on from its best weights; checked and resumed as one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cli.commands import caller
from frostline.errors import DataError, NetworkError, RecipeError, RunError, SelectorError
from frostline.recipe import Recipe, assemble, finetune, load_recipe, masked_recipe, verify_run
from frostline.record import read_record
from frostline.training import Silent
from recipe.processes import several
from training.tiny_texts import text_rows, tokenizer, write_text_recipe, write_texts

BEST, LAST = "checkpoints/best.safetensors", "checkpoints/last.safetensors"
WORDS = {"epochs": 2, "lr": 0.05}
TWO = [{"epochs": 2, "freeze": "all", "lr": 0.1}, {"epochs": 1, "freeze": {"through": "block1"}, "lr": 0.05}]


def rows(count: int = 120) -> list[tuple[str, str]]:
    """Make texts of which none is there twice."""
    return list(dict(text_rows(3 * count, longest=20)).items())[:count]


def write_recipe(folder: Path, **keys: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "texts.csv").exists():
        write_texts(folder / "texts.csv", rows())
    words = {"data": {"train": "texts.csv", "val": 0.2, "test": 0.1}, "phases": TWO, "pretrain": WORDS}
    return write_text_recipe(folder, kind="BertForMaskedLM", **{**words, **keys})


def recipe_in(folder: Path, *changes: str, **keys: Any) -> Recipe:
    return load_recipe(str(write_recipe(folder, **keys)), overrides=changes)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def ways(run: Path) -> list[tuple]:
    return [(one.train_loss, one.val_loss, one.metrics) for one in read_record(run).epochs]


class StopsAt(Silent):
    """Stops by hand after so many epochs of both runs together."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def epoch(self, record: Any) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_one_goes_on_from_the_best_weights_of_the_other(tmp_path: Path) -> None:
    phases = [{"epochs": 2, "freeze": "all", "lr": 0.1}]
    record = finetune(recipe_in(tmp_path, phases=phases), out=tmp_path / "run")
    first = tmp_path / "run/pretraining"
    there = {path.name for path in first.iterdir()}
    assert there >= {
        "recipe.yaml",
        "record.json",
        "proof.json",
        "report.html",
        "metrics.csv",
        "texts.jsonl",
        "tokenizer",
    }
    learned, tuned = load_file(first / BEST), load_file(tmp_path / "run" / LAST)
    published = load_file(tmp_path / "net/model.safetensors")
    body = [name for name in learned if name in tuned]
    assert len(body) == 37
    for name in body:
        assert torch.equal(tuned[name], learned[name]), name
    assert any(not torch.equal(published[name], learned[name]) for name in body)
    before = read_record(first)
    assert before.proof["ok"]
    assert record.proof["ok"]
    assert record.pretraining == {
        "run": "pretraining",
        "texts": 84,
        "epochs": 2,
        "best": before.best["epoch"],
        "loss": before.epochs[before.best["epoch"] - 1].val_loss,
        "sha256": record.pretraining["sha256"],
    }
    assert len(record.pretraining["sha256"]) == 64
    assert "on the masked words of 84 texts" in (tmp_path / "run/report.html").read_text()
    proof = verify_run(tmp_path / "run")
    assert (proof.ok, proof.warnings) == (True, ())
    assert verify_run(first).ok


def test_no_text_that_is_judged_on_is_learned_from(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path)
    finetune(recipe, out=tmp_path / "run")
    written = (tmp_path / "run/pretraining/texts.jsonl").read_text().splitlines()
    learned = {json.loads(line)["text"] for line in written}
    data = assemble(recipe).data
    assert learned == set(data.train.texts.content)
    assert len(written) == 84
    every = {text for text, _ in rows()}
    assert set(data.val.texts.content) | set(data.test.texts.content) == every - learned
    record = read_record(tmp_path / "run/pretraining")
    assert record.samples == {"train": 76, "val": 8}
    assert record.recipe["data"]["train"] == str(tmp_path / "run/pretraining/texts.jsonl")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody interrupted, beside its recipe."""
    folder = tmp_path_factory.mktemp("whole")
    finetune(recipe_in(folder, replay="off"), out=folder / "run")
    return folder


@pytest.mark.recipe
@pytest.mark.parametrize("epochs", [1, 2, 3, 4])
def test_an_interrupted_one_goes_on_to_the_same_bits_and_nothing_is_done_twice(
    epochs: int, whole: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(str(whole / "texts.yaml"))
    with pytest.raises(KeyboardInterrupt):
        finetune(recipe, out=tmp_path / "stopped", show=StopsAt(epochs), save_seconds=0)
    before = content(tmp_path / "stopped/pretraining")
    with pytest.raises(RunError, match="a run of that name is there already"):
        finetune(recipe, out=tmp_path / "stopped")
    told: list[str] = []
    finetune(recipe, out=tmp_path / "stopped", resume=True, save_seconds=0, warn=told.extend)
    assert not [line for line in told if "changed since" in line]
    if epochs > 2:
        assert content(tmp_path / "stopped/pretraining") == before
    for part in ("", "pretraining"):
        assert ways(tmp_path / "stopped" / part) == ways(whole / "run" / part)
        for name in (BEST, LAST):
            mine, theirs = (load_file(run / part / name) for run in (tmp_path / "stopped", whole / "run"))
            assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    assert read_record(tmp_path / "stopped").pretraining == read_record(whole / "run").pretraining
    changed = load_recipe(str(whole / "texts.yaml"), overrides=["pretrain.mask=0.2"])
    with pytest.raises(RunError, match=r"pretraining: another run is finished there: mask"):
        finetune(changed, out=tmp_path / "stopped", resume=True)
    again = content(tmp_path / "stopped")
    finetune(recipe, out=tmp_path / "stopped", resume=True)
    assert content(tmp_path / "stopped") == again


def test_a_finished_pretraining_is_not_taken_for_another(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        finetune(recipe_in(tmp_path), out=tmp_path / "run", show=StopsAt(3), save_seconds=0)
    before = content(tmp_path / "run")
    with pytest.raises(RunError, match=r"pretraining: another run is finished there: phases, warmup differ"):
        finetune(recipe_in(tmp_path, "pretrain.epochs=3"), out=tmp_path / "run", resume=True)
    write_texts(tmp_path / "texts.csv", [*rows(118), ("the train please", "travel"), ("a train please", "travel")])
    with pytest.raises(RunError, match="a pretraining on other texts is finished there"):
        finetune(recipe_in(tmp_path), out=tmp_path / "run", resume=True)
    assert content(tmp_path / "run") == before


FAULTS = {
    "a phase": ({"phases": [*TWO, {"epochs": 1, "freeze": {"through": "block9"}, "lr": 1}]}, SelectorError, "block9"),
    "a class": ({"loss": {"class_weights": {"nobody": 2.0}}}, Exception, "no class nobody"),
    "no texts": ({"pretrain": {**WORDS, "texts": "nowhere.txt"}}, DataError, "no such file"),
    "empty texts": ({"pretrain": {**WORDS, "texts": "empty.txt"}}, DataError, "no texts in it"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_with_either_is_found_before_anything_is_trained_or_written(name: str, tmp_path: Path) -> None:
    keys, kind, says = FAULTS[name]
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(kind, match=says) as caught:
        finetune(recipe_in(tmp_path, **keys), out=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_tokenizer_without_a_mask_is_found_first_too(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path)
    words = tokenizer()
    words.mask_token = None
    words.save_pretrained(tmp_path / "net")
    with pytest.raises(NetworkError, match="no token that stands for a masked word"):
        finetune(recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_texts_of_another_place_and_what_of_them_is_judged_on(tmp_path: Path) -> None:
    """All texts, without their labels, are more to learn from; that some are judged on is told and recorded."""
    (tmp_path / "more.txt").write_text("\n".join(text for text, _ in rows()))
    recipe = recipe_in(tmp_path, pretrain={**WORDS, "texts": "more.txt", "mask": 0.3})
    assert recipe.pretrain is not None
    assert recipe.pretrain.texts == str(tmp_path / "more.txt")
    told: list[str] = []
    record = finetune(recipe, out=tmp_path / "run", warn=told.extend)
    line = f"pretrain.texts: {tmp_path / 'more.txt'} has 36 of the 36 texts that this run is judged on"
    assert sum(one.startswith(line) for one in told) == 1
    assert sum(one.startswith(line) for one in record.warnings) == 1
    first = read_record(tmp_path / "run/pretraining")
    assert sum(first.samples.values()) == record.pretraining["texts"] == 120
    assert first.recipe["mask"] == 0.3
    assert not (tmp_path / "run/pretraining/texts.jsonl").exists()


def test_the_column_of_another_table_is_its_own(tmp_path: Path) -> None:
    data = {"train": "texts.csv", "val": 0.2, "columns": {"text": "text", "label": "label"}}
    (tmp_path / "body.csv").write_text("content\nthe card\n")
    (tmp_path / "same.csv").write_text("text,content\nthe card,x\n")
    for name, columns in (("body.csv", None), ("same.csv", {"path": None, "text": "text", "label": None})):
        recipe = recipe_in(tmp_path, data=data, pretrain={**WORDS, "texts": name})
        derived = masked_recipe(recipe, tmp_path).data.columns
        assert (None if derived is None else derived.model_dump()) == columns


def test_show_writes_the_recipe_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_recipe(tmp_path, optimizer="adamw", batch_size=8)
    shown = caller(monkeypatch, capsys)("recipe", "show", file, "pretrain.epochs=20").out
    above, _, below = shown.partition("\n# What `pretrain` stands for")
    (tmp_path / "shown.yaml").write_text(shown)
    assert load_recipe(str(tmp_path / "shown.yaml")) == load_recipe(str(file), overrides=["pretrain.epochs=20"])
    assert "pretrain:\n  epochs: 20\n  lr: 0.05\n  texts: null\n  mask: 0.15\n" in above
    commented = "\n".join(line.removeprefix("# ") for line in below.splitlines()[1:])
    (tmp_path / "masked.yaml").write_text(commented)
    masked = load_recipe(str(tmp_path / "masked.yaml"))
    assert (masked.task, masked.data.val, masked.metric, masked.warmup) == ("masked_text", 0.1, "loss", 1.2)
    assert (masked.optimizer.name, masked.batch_size, masked.seed) == ("adamw", 8, 3)
    assert [(phase.epochs, str(phase.freeze), phase.lr) for phase in masked.phases] == [(20, "none", 0.05)]


MISTAKES = {
    "images": (["task=images"], "pretrain: keys, and the task is images: it belongs to text"),
    "masked": (["task=masked_text"], "pretrain: keys, and the task is masked_text: it belongs to text"),
    "kept head": (["model.keep_head=true"], "model.keep_head: true, and what comes from `pretrain` has no head"),
    "no epochs": (["pretrain={lr: 0.1}"], "pretrain.epochs: missing"),
    "no rate": (["pretrain={epochs: 3}"], "pretrain.lr: missing"),
    "a word": (["pretrain=yes"], "pretrain"),
    "a key": (["pretrain.freeze=all"], "pretrain.freeze"),
    "a share": (["pretrain.mask=15"], "below 1"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_in_one_line(name: str, tmp_path: Path) -> None:
    changes, says = MISTAKES[name]
    with pytest.raises(RecipeError) as caught:
        recipe_in(tmp_path, *changes)
    found = [line for line in caught.value.mistakes if "pretrain" in line]
    assert len(found) == 1
    assert says.partition(": ")[0] in found[0]
    assert says.partition(": ")[2] in found[0]


@pytest.mark.recipe
def test_processes_do_both_as_one_does(tmp_path: Path) -> None:
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    write_texts(tmp_path / "judged.csv", text_rows(31, seed=3))
    data = {"train": "texts.csv", "val": str(tmp_path / "judged.csv")}
    keys = {"network": still, "data": data, "phases": TWO[:1], "replay": "off"}
    files = []
    for way, size in (("alone", 8), ("both", 4)):
        (tmp_path / way).mkdir()
        write_texts(tmp_path / way / "texts.csv", rows(130))
        files.append(write_recipe(tmp_path / way, batch_size=size, **keys))
    finetune(load_recipe(str(files[0])), out=tmp_path / "alone/run")
    found = several(tmp_path / "meet", [(files[1], tmp_path / "both/run")], count=2)
    assert [mine[0]["error"] for mine in found] == ["", ""]
    assert found[0][0]["digests"] == found[1][0]["digests"]
    for part in ("pretraining", ""):
        for one, other in zip(*(ways(tmp_path / way / "run" / part) for way in ("alone", "both")), strict=True):
            assert one[:2] == pytest.approx(other[:2], rel=1e-4)
        assert read_record(tmp_path / "both/run" / part).proof["ok"]
