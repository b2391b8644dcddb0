"""The task `text` as a whole: runs that are replayed or computed, held to loops by hand, interrupted, told of."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from frostline.backbones import build
from frostline.data import named_parts
from frostline.errors import DataError, NetworkError, RecipeError, RunFailure
from frostline.recipe import assemble, finetune, load_recipe
from frostline.training import Silent
from frostline.training.memory import halved
from training.tiny_texts import save_network, text_recipe, text_rows, tokenizer, write_text_recipe, write_texts

BEST = "checkpoints/best.safetensors"
LAST = "checkpoints/last.safetensors"
TWO = [{"epochs": 2, "freeze": "all", "lr": 0.1}, {"epochs": 2, "freeze": {"through": "block1"}, "lr": 0.05}]


def ways(record) -> list[tuple]:
    return [(one.train_loss, one.val_loss, one.metrics) for one in record.epochs]


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "DistilBert", "Electra"])
def test_replayed_and_computed_are_one(kind: str, tmp_path: Path) -> None:
    """Texts of several lengths, two phases: the same losses, metrics and weights, within rounding."""
    write_texts(tmp_path / "texts.csv", text_rows(200, longest=30))
    recipe = text_recipe(tmp_path, kind=f"{kind}ForSequenceClassification", phases=TWO)
    replayed = finetune(recipe, out=tmp_path / "replayed")
    computed = finetune(
        recipe.model_copy(update={"replay": recipe.replay.model_copy(update={"use": "off"})}), out=tmp_path / "computed"
    )
    for one in replayed.phases:
        assert len({line.partition(":")[0] for line in one.replay if line.startswith("replay of texts")}) > 1
        assert not [line for line in one.replay if ": off" in line]
    assert not [line for line in replayed.warnings if "off since" in line]
    assert replayed.proof["ok"]
    for one, other in zip(ways(replayed), ways(computed), strict=True):
        assert one[:2] == pytest.approx(other[:2], rel=1e-5)
        assert one[2] == other[2]
    for name in (BEST, LAST):
        mine, theirs = (load_file(tmp_path / way / name) for way in ("replayed", "computed"))
        for key, tensor in mine.items():
            torch.testing.assert_close(tensor, theirs[key], rtol=1e-4, atol=1e-5, msg=key)


def test_a_run_is_as_a_loop_by_hand(tmp_path: Path) -> None:
    """Plain torch over the same batches: the same losses, and the body is what it was."""
    recipe = text_recipe(
        tmp_path,
        phases=[{"epochs": 3, "freeze": "all", "lr": 0.1}],
        optimizer={"name": "sgd", "momentum": 0.0, "weight_decay": 0.0},
    )
    record = finetune(recipe, out=tmp_path / "run")
    assembly = assemble(recipe)
    model, loader = assembly.model, assembly.task.loader(assembly.data.train, seed=recipe.seed + 1)
    body = {name: tensor.clone() for name, tensor in model.bert.state_dict().items()}
    learner = torch.optim.SGD(model.classifier.parameters(), lr=0.1)
    losses = []
    for _ in range(3):
        seen = []
        model.eval()
        for inputs, labels, _ in loader:
            loss = torch.nn.functional.cross_entropy(model(**inputs).logits, labels)
            learner.zero_grad()
            loss.backward()
            learner.step()
            seen.append((loss.item(), len(labels)))
        losses.append(sum(loss * count for loss, count in seen) / sum(count for _, count in seen))
    assert [one.train_loss for one in record.epochs] == pytest.approx(losses, rel=1e-5)
    trained = load_file(tmp_path / "run" / LAST)
    for name, tensor in body.items():
        assert torch.equal(trained[f"bert.{name}"], tensor), name
    assert not torch.equal(trained["classifier.weight"], assemble(recipe).model.classifier.weight)


def test_it_learns_what_a_text_is_about(tmp_path: Path) -> None:
    write_texts(tmp_path / "texts.csv", text_rows(240))
    record = finetune(
        text_recipe(tmp_path, "optimizer=adamw", phases=[{"epochs": 6, "freeze": "none", "lr": 0.003}]),
        out=tmp_path / "run",
    )
    assert record.best["metrics"]["accuracy"] > 0.9


@pytest.mark.parametrize("replay", ["auto", "off"])
def test_an_interrupted_run_goes_on_to_the_same_bits(replay: str, tmp_path: Path) -> None:
    recipe = text_recipe(tmp_path, phases=TWO, **({} if replay == "auto" else {"replay": "off"}))
    whole = finetune(recipe, out=tmp_path / "whole")

    class Stops(Silent):
        def epoch(self, record) -> None:
            if record.epoch == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(recipe, out=tmp_path / "stopped", show=Stops(), save_seconds=0)
    resumed = finetune(recipe, out=tmp_path / "stopped", resume=True)
    assert ways(resumed) == ways(whole)
    mine, theirs = (load_file(tmp_path / run / LAST) for run in ("stopped", "whole"))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_a_body_alone_has_its_new_pooler_in_the_head(tmp_path: Path) -> None:
    """Weights of masked language modelling have no pooler: held, it would stay random."""
    recipe = text_recipe(tmp_path, kind="BertForMaskedLM")
    assembly = assemble(recipe)
    assert any("bert.pooler is not among the weights" in line for line in assembly.warnings)
    assert {"bert.pooler.dense.weight", "classifier.weight"} <= set(assembly.plans[0].trained_names)
    assert "bert.embeddings.word_embeddings.weight" in assembly.plans[0].held_names
    published = build(f"hf/{save_network(tmp_path / 'whole')}", kind="text")
    assert published.head_parts == ("classifier",)


def test_what_is_told(tmp_path: Path) -> None:
    rows = [*text_rows(60), ("the card please", "card"), ("the card please", "money")]
    write_texts(tmp_path / "texts.csv", rows)
    warnings = assemble(text_recipe(tmp_path, "data.max_length=8", "data.val=0.3")).warnings
    assert any(
        "training texts are longer than 8 tokens, and cut there; `data.max_length` can be 40" in one for one in warnings
    )
    assert any("one text of" in one and 'has several labels, such as "the card please"' in one for one in warnings)


def test_balanced_sampling_pads_all_alike_and_says_so(tmp_path: Path) -> None:
    write_texts(tmp_path / "texts.csv", text_rows(200, longest=30))
    assembly = assemble(text_recipe(tmp_path, "sampling=balanced"))
    assert len(named_parts(assembly.task.loader(assembly.data.train, seed=0))) == 1
    assert any("sampling: balanced pads all texts" in one for one in assembly.warnings)


def test_empty_texts_are_faults(tmp_path: Path) -> None:
    write_texts(tmp_path / "texts.csv", [*text_rows(60), ("", "card"), ("  ", "money")])
    with pytest.raises(DataError, match="2 texts cannot be used") as caught:
        assemble(text_recipe(tmp_path))
    assert [str(item).rpartition(": ")[2] for item in caught.value.items] == ["no text", "no text"]
    skipped = assemble(text_recipe(tmp_path, "data.on_bad=skip")).skipped
    assert [fault.name for fault in skipped] == [f"{tmp_path / 'texts.csv'}:{line}" for line in (62, 63)]


MISTAKES = {
    "size": ("data.size=32", "data.size", "it belongs to images"),
    "a policy": ("augment=light", ": light, and the task is text", "it belongs to images"),
    "transforms": ("augment=[RandomErasing]", ": a list, and the task is text", "it belongs to images"),
    "mixup": ("augment={mixup: 0.2}", "augment.mixup", "it belongs to images"),
    "workers": ("data.workers=2", "data.workers", "it belongs to images"),
    "builtin": ("data.train=builtin/digits", "data.train", "these are images"),
    "views": ("replay.views=4", "replay.views", "it belongs to images"),
    "column": ("data.columns={path: a, label: b}", "data.columns.path", "it belongs to images"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_keys_of_images_are_refused(name: str, tmp_path: Path) -> None:
    change, key, what = MISTAKES[name]
    with pytest.raises(RecipeError) as caught:
        text_recipe(tmp_path, change)
    (mistake,) = caught.value.mistakes
    assert key in mistake
    assert "the task is text" in mistake
    assert what in mistake


def test_keys_of_texts_are_refused_for_images(tmp_path: Path) -> None:
    for change in ("data.max_length=8", "model.tokenizer=there"):
        with pytest.raises(RecipeError, match="the task is images: it belongs to text"):
            text_recipe(tmp_path, "task=images", change)


def test_a_technique_fills_in_nothing_of_images(tmp_path: Path) -> None:
    file = write_text_recipe(tmp_path)
    words = json.loads(file.read_text())
    file.write_text(json.dumps({**{key: words[key] for key in words if key != "phases"}, "technique": "few_shot"}))
    assembly = assemble(load_recipe(str(file)))
    assert (assembly.recipe.head, assembly.recipe.augment.policy) == ("few_shot", "none")
    assert not [line for line in assembly.warnings if "augment" in line]


def test_fewer_at_once_would_make_other_steps(tmp_path: Path) -> None:
    """Halves of texts of two lengths would be put together."""
    write_texts(tmp_path / "texts.csv", text_rows(200, longest=30))
    assembly = assemble(text_recipe(tmp_path))
    common = {"samples": 160, "accumulate": 1, "title": "phase 1"}
    with pytest.raises(RunFailure, match=r"4 texts at once; with 2 texts of several lengths would make a step"):
        halved(assembly.task, assembly.model, assembly.plans[0], **common)
    task, accumulate = halved(replace(assembly.task, bounds=(40,)), assembly.model, assembly.plans[0], **common)
    assert (task.batch_size, accumulate) == (2, 2)


def test_another_tokenizer_is_another_run(tmp_path: Path) -> None:
    recipe = text_recipe(tmp_path, phases=TWO)

    class Stops(Silent):
        def epoch(self, record) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(recipe, out=tmp_path / "run", show=Stops(), save_seconds=0)
    words = tmp_path / "net/tokenizer.json"
    words.write_text(words.read_text().replace('"plastic"', '"paper"'))
    told: list[str] = []
    finetune(recipe, out=tmp_path / "run", resume=True, warn=told.extend)
    assert any("changed since: what the network is given of a sample" in line for line in told)


def test_the_tokenizer_of_a_recipe_is_found_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer().save_pretrained(tmp_path / "words")
    file = write_text_recipe(tmp_path)
    words = json.loads(file.read_text())
    file.write_text(json.dumps({**words, "model": {**words["model"], "tokenizer": "words"}}))
    monkeypatch.chdir(tmp_path.parent)
    assert load_recipe(str(file)).model.tokenizer == str(tmp_path / "words")


def test_networks_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="a network that reads no texts"):
        assemble(text_recipe(tmp_path, "model.name=torchvision/resnet18", "model.weights=none"))
    with pytest.raises(NetworkError, match="the network reads 40 tokens at most"):
        assemble(text_recipe(tmp_path, "data.max_length=41"))
    config = json.loads((tmp_path / "net/config.json").read_text())
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "net" / name).unlink()
    with pytest.raises(NetworkError, match=r"model\.tokenizer"):
        assemble(text_recipe(tmp_path))
    tokenizer().save_pretrained(tmp_path / "words")
    there = f"model.tokenizer={tmp_path / 'words'}"
    assert len(assemble(text_recipe(tmp_path, there)).data.train)
    config["vocab_size"] = 9
    (tmp_path / "net/config.json").write_text(json.dumps(config))
    with pytest.raises(NetworkError, match="has 23 words, and the network 9"):
        assemble(text_recipe(tmp_path, there, "model.weights=none"))


def test_copies_of_training_texts_are_told(tmp_path: Path) -> None:
    rows = text_rows(60)
    write_texts(tmp_path / "judge.jsonl", [(f"  {rows[4][0].replace(' ', '  ')}", rows[4][1]), *text_rows(9, seed=8)])
    notes = assemble(text_recipe(tmp_path, f"data.val={tmp_path / 'judge.jsonl'}")).warnings
    assert any("1 of 10 texts of data.val are copies of training ones" in note for note in notes)


def test_a_teacher_of_texts_says_the_same_from_the_store_and_from_memory(tmp_path: Path) -> None:
    """Of several lengths, whose last batches are not whole, and under an optimizer that makes much of rounding."""
    write_texts(tmp_path / "texts.csv", text_rows(90, longest=30))
    phases = [{"epochs": 2, "freeze": "none", "lr": 0.01}]
    finetune(text_recipe(tmp_path, phases=phases), out=tmp_path / "teacher")
    found = {}
    for use in ("auto", "off"):
        keys = {"distill": {"teacher": str(tmp_path / "teacher")}, "optimizer": {"name": "adamw"}, "seed": 9}
        replay = {"use": use, "dir": str(tmp_path / "store")}
        record = finetune(text_recipe(tmp_path, phases=phases, replay=replay, **keys), out=tmp_path / use)
        found[use] = [one.train_loss for one in record.epochs]
    assert found["auto"] == pytest.approx(found["off"], abs=1e-5)
