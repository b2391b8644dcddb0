"""The study of readers of pictures, end to end on small folders, and what its readers give against what is known."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import transformers as hf

from frostline.lora import load_adapters
from lora import small_folders
from lora.small_folders import TEXTS, write_pictures

STUDIES = Path(__file__).resolve().parents[2] / "studies"
FOLDERS: dict[str, Callable[[Path], Path]] = {
    "trocr": small_folders.trocr,
    "deepseek_ocr2": small_folders.deepseek_ocr2,
    "got_ocr2": small_folders.got_ocr2,
}
CPU = torch.device("cpu")


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(STUDIES))
    return importlib.import_module("lora_ocr")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("readers")
    return {kind: make(place / kind) for kind, make in FOLDERS.items()}


@pytest.mark.recipe
@pytest.mark.parametrize("kind", FOLDERS)
def test_it_runs_from_a_folder_and_a_table_to_a_proof(
    study: ModuleType, folders: dict[str, Path], kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    table = write_pictures(tmp_path / "pictures")
    arguments = [str(folders[kind]), str(table), "--out", str(tmp_path / "out"), "--rank", "4", "--lr", "1e-2"]

    study.main([*arguments, "--batch-size", "2", "--accumulate", "2", "--steps", "3", "--most-tokens", "6"])

    said = capsys.readouterr().out
    assert "lora of rank 4 in" in said
    assert "THE FREEZE DID NOT HOLD" not in said
    proof = json.loads((tmp_path / "out/proof.json").read_text())
    assert [claim["status"] for claim in proof["claims"]] == ["holds"] * 7 + ["not applicable"]
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert len(results["losses"]) == 3
    assert results["samples"] == {"train": 11, "held_out": 1}
    assert set(results["scores"]) == {"before", "after"}

    # What was kept is what was trained: the network as it was, with it, has another loss than without.
    model = study.load(str(folders[kind]), device=CPU)
    reader = study.reader_for(str(folders[kind]), model, question=None)
    batch = study.on_device(reader.batch(study.samples_of(table)[:2]), model)
    with torch.no_grad():
        before = study.cost(model.eval(), batch)
        load_adapters(model, tmp_path / "out/adapters")
        assert study.cost(model.eval(), batch) < before


@pytest.mark.parametrize("kind", FOLDERS)
def test_the_answer_alone_is_learned_to_its_end(study: ModuleType, folders: dict[str, Path], kind: str, tmp_path: Path):
    samples = study.samples_of(write_pictures(tmp_path, ["AB", "CDE1"]))
    model = study.load(str(folders[kind]), device=CPU)
    reader = study.reader_for(str(folders[kind]), model, question=None)
    tokenizer: Any = hf.AutoTokenizer.from_pretrained(folders[kind])

    batch = reader.batch(samples)

    learned = [row[row != -100] for row in batch["labels"]]
    ends = {"trocr": "<s>{}</s>", "deepseek_ocr2": "{}<end>", "got_ocr2": "{}<|im_end|>"}
    assert tokenizer.batch_decode(learned) == [ends[kind].format(text) for text in ("AB", "CDE1")]
    if kind == "trocr":
        return
    words = batch["input_ids"]
    assert batch["labels"].shape == words.shape == batch["attention_mask"].shape
    assert torch.equal(words[batch["labels"] != -100], batch["labels"][batch["labels"] != -100])
    # The network's own count of the places of a picture is that of the words: else its forward refuses.
    assert torch.isfinite(study.cost(model, study.on_device(batch, model)))
    question = tokenizer.decode(words[0][: words.shape[1] - len(learned[1])])
    assert ("Free OCR." in question) == (kind == "deepseek_ocr2")
    assert question.endswith("assistant\n") == (kind == "got_ocr2")


def test_wide_pictures_come_in_tiles_beside_others_that_do_not(
    study: ModuleType, folders: dict[str, Path], tmp_path: Path
):
    narrow = study.samples_of(write_pictures(tmp_path / "narrow", ["AB", "CD"]))
    wide = study.samples_of(write_pictures(tmp_path / "wide", ["EF", "GH"], width=1000))
    name = str(folders["deepseek_ocr2"])
    model = study.load(name, device=CPU).eval()
    reader = study.reader_for(name, model, question=None)

    together = [narrow[0], wide[0], narrow[1]]
    batch = study.on_device(reader.batch(together), model)
    assert batch["num_local_patches"].tolist()[::2] == [0, 0]
    assert batch["num_local_patches"][1] > 1
    assert len(batch["pixel_values_local"]) == batch["num_local_patches"].sum()
    with torch.no_grad():
        logits = model(**batch).logits
        for number, sample in enumerate(together):
            alone = study.on_device(reader.batch([sample]), model)
            length = alone["input_ids"].shape[1]
            assert torch.allclose(model(**alone).logits[0], logits[number, :length], atol=1e-4)


@pytest.mark.recipe
@pytest.mark.parametrize("kind", FOLDERS)
def test_what_was_learned_by_heart_is_read_alone_and_in_company(
    study: ModuleType, folders: dict[str, Path], kind: str, tmp_path: Path
):
    # One text, so that nothing but its place, its beginning and its end is to be learned: by all of the network.
    samples = study.samples_of(write_pictures(tmp_path, ["XZ90", "XZ90"]))
    if kind == "deepseek_ocr2":  # whose questions are longer for pictures in tiles
        samples[1] = study.samples_of(write_pictures(tmp_path / "wide", ["XZ90", "XZ90"], width=1000))[0]
    model = study.load(str(folders[kind]), device=CPU)
    reader = study.reader_for(str(folders[kind]), model, question=None)
    trained = [tensor for name, tensor in model.named_parameters() if "vision_tower" not in name]
    for tensor in model.parameters():
        tensor.requires_grad_(any(tensor is one for one in trained))
    asked = ["", "", "--out", "", "--batch-size", "2", "--accumulate", "1", "--epochs", "40", "--steps", "40"]

    *_, loss = study.steps(
        model, reader, samples, torch.optim.Adam(trained, lr=1e-2), study._parser().parse_args(asked)
    )

    assert loss < 0.3
    model.eval()
    with torch.no_grad():
        assert reader.read(model, samples, most_tokens=8) == ["XZ90", "XZ90"]
        assert [reader.read(model, [sample], most_tokens=8) for sample in samples] == [["XZ90"], ["XZ90"]]


def test_networks_are_loaded_without_dropout_of_their_own(study: ModuleType, folders: dict[str, Path]):
    assert hf.AutoConfig.from_pretrained(folders["trocr"]).decoder.dropout == 0.1

    model = study.load(str(folders["trocr"]), device=CPU)

    assert {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)} <= {0.0}
    assert model.decoder.model.decoder.dropout == 0.0


def test_every_sample_counts_the_same_in_a_step_of_several_batches(
    study: ModuleType, folders: dict[str, Path], tmp_path: Path
):
    # The text of each has the same length, so that a mean over tokens is one over samples.
    samples = study.samples_of(write_pictures(tmp_path, TEXTS[:5]))
    asked = study._parser().parse_args(
        [str(folders["trocr"]), "none", "--out", "none", "--batch-size", "2", "--accumulate", "3", "--epochs", "1"]
    )
    model = study.load(str(folders["trocr"]), device=CPU)
    reader = study.reader_for(str(folders["trocr"]), model, question=None)
    expected = study.cost(model, study.on_device(reader.batch(samples), model)).item()

    (loss,) = study.steps(model, reader, samples, torch.optim.SGD(model.parameters(), lr=0.0), asked)

    assert loss == pytest.approx(expected, rel=1e-5)


def test_mistakes_are_told_in_a_line(study: ModuleType, folders: dict[str, Path], tmp_path: Path):
    table = tmp_path / "table.csv"
    table.write_text("file,label\n1.png,A\n")
    with pytest.raises(SystemExit, match="its columns are file, label; name two path and text"):
        study.samples_of(table)
    table.write_text("path,text\n1.png,A\n2.png,B\n")
    with pytest.raises(SystemExit, match="2 of their pictures are not there"):
        study.samples_of(table)
    with pytest.raises(SystemExit, match="--four-bit needs a GPU"):
        study._check_four_bit(CPU)


def test_the_split_is_drawn_with_a_seed_and_holds_out_one_at_least(study: ModuleType):
    samples = [(Path(f"{number}.png"), str(number)) for number in range(10)]

    train, held_out = study.split(samples, share=0.3, seed=1)

    assert sorted(train + held_out) == sorted(samples)
    assert len(held_out) == 3
    assert study.split(samples, share=0.3, seed=1) == (train, held_out)
    assert [len(part) for part in study.split(samples[:2], share=0.01, seed=1)] == [1, 1]
