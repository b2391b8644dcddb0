"""Runs with adapters: what they hold keeps its bits, what they train is what was said, and a kill loses nothing."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from frostline.deployment import evaluate_run, export_run, load_run
from frostline.errors import RecipeError, RunError, SelectorError, WeightsError
from frostline.recipe import Recipe, assemble, finetune, verify_recipe, verify_run
from training.tiny import Twin, tiny_recipe, twin_at_start

LORA = {"rank": 2, "alpha": 6}
PHASES = [{"epochs": 2, "freeze": "all", "lr": 0.05}]


def recipe_of(folder: Path, *changes: str, **keys: object) -> Recipe:
    return tiny_recipe(folder, *changes, **{"lora": LORA, "phases": PHASES, **keys})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lora")
    finetune(recipe_of(folder), out=folder / "run")
    return folder / "run"


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / "best.safetensors")


def test_the_base_keeps_its_bits_and_adapters_and_head_are_trained(run: Path) -> None:
    after, start = weights(run), twin_at_start(3).state_dict()
    plain = {name.replace(".base_layer", ""): tensor for name, tensor in after.items() if "lora" not in name}
    assert plain.keys() == start.keys()
    same = {name for name in start if torch.equal(plain[name], start[name])}
    assert same == {name for name in start if not name.startswith("fc.")}
    assert all(after[name].any() for name in after if "lora_B" in name)


def test_the_record_says_what_was_trained(run: Path) -> None:
    words = json.loads((run / "record.json").read_text())
    assert words["recipe"]["lora"] == {"kind": "lora", "rank": 2, "alpha": 6.0, "dropout": 0.0, "targets": "all"}
    adapters = 2 * (3 * 9 + 4) + 2 * (4 * 9 + 8)
    head = 8 * 3 + 3
    assert words["parameters"]["trained"] == adapters + head
    assert words["proof"]["ok"]
    total = sum(parameter.numel() for parameter in Twin().parameters()) + adapters
    line = f"lora of rank 2 in 2 layers: {adapters} parameters, {adapters / total:.2%} of the network's {total}"
    beside = f"with what is trained beside them {adapters + head} ({(adapters + head) / total:.2%})"
    assert f"{line}; {beside}" in words["warnings"]


def test_a_finished_run_is_verified_judged_and_exported(run: Path) -> None:
    assert verify_run(run).ok
    judged, _, _ = evaluate_run(load_run(run), run.parent / "photos")
    assert judged.samples == 24
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    wanted = load_run(run).model(images)
    done = export_run(run, form="weights")
    twin = Twin().eval()
    twin.load_state_dict(load_file(done.files[0].path))
    torch.testing.assert_close(twin(images), wanted)


def test_its_adapters_go_on_the_network_that_the_run_began_with(run: Path, tmp_path: Path) -> None:
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    (written,) = export_run(run, form="adapters", to=tmp_path).files
    assert written.apart == 0
    loaded = PeftModel.from_pretrained(twin_at_start(3), str(written.path))
    assert torch.equal(loaded.eval()(images), load_run(run).model(images))


def test_a_run_without_adapters_has_none_to_export(tmp_path: Path) -> None:
    finetune(tiny_recipe(tmp_path), out=tmp_path / "run")
    with pytest.raises(RunError, match="the run has none"):
        export_run(tmp_path / "run", form="adapters")
    assert not [file for file in export_run(tmp_path / "run").files if file.path.name == "adapters"]


def test_layers_that_thaw_are_trained_beside_their_adapters(tmp_path: Path) -> None:
    phases = [*PHASES, {"epochs": 1, "freeze": {"through": "stem"}, "lr": 0.05}]
    record = finetune(recipe_of(tmp_path, phases=phases), out=tmp_path / "run")
    assert record.proof is not None
    assert record.proof["ok"]
    after = load_file(tmp_path / "run" / "checkpoints" / "last.safetensors")
    start = twin_at_start(3).state_dict()
    assert torch.equal(after["conv1.base_layer.weight"], start["conv1.weight"])
    assert not torch.equal(after["conv2.base_layer.weight"], start["conv2.weight"])
    done = export_run(tmp_path / "run")
    assert [file.path.name for file in done.files] == ["model.onnx", "model.safetensors"]
    assert any("adapters were left out: conv2.base_layer.weight were trained, too" in note for note in done.notes)


def test_what_lies_before_the_first_adapter_is_replayed_to_the_bit(tmp_path: Path) -> None:
    lora = {**LORA, "targets": {"match": ["conv2"]}}
    computed, replayed = (
        finetune(
            recipe_of(tmp_path, lora=lora, replay={"use": use, "dir": str(tmp_path / "store")}), out=tmp_path / use
        )
        for use in ("off", "auto")
    )
    assert not any(line.startswith("off") for line in replayed.phases[0].replay), replayed.phases[0].replay
    assert [epoch.train_loss for epoch in replayed.epochs] == [epoch.train_loss for epoch in computed.epochs]
    one, other = weights(tmp_path / "off"), weights(tmp_path / "auto")
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", ["dora", "ia3"])
def test_other_kinds_by_a_word(kind: str, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, lora=kind)
    assert verify_recipe(recipe).ok
    (line,) = [note for note in assemble(recipe).warnings if note.startswith(kind)]
    assert "in 2 layers" in line


@pytest.mark.parametrize(
    ("technique", "trained"),
    [
        ("bitfit", {"bn1.bias", "bn2.bias", "fc.weight", "fc.bias"}),
        ("norm_only", {"bn1.weight", "bn1.bias", "bn2.weight", "bn2.bias", "fc.weight", "fc.bias"}),
    ],
)
def test_biases_or_norms_alone_are_trained(technique: str, trained: set[str], tmp_path: Path) -> None:
    words = tiny_recipe(tmp_path).model_dump(mode="json")
    words |= {"technique": {"name": technique, "epochs": 1, "lr": 0.05}}
    recipe = Recipe.model_validate({key: value for key, value in words.items() if key != "phases"})
    record = finetune(recipe, out=tmp_path / "run")
    assert record.proof is not None
    assert record.proof["ok"]
    after, start = weights(tmp_path / "run"), twin_at_start(3).state_dict()
    moved = {name for name, _ in Twin().named_parameters() if not torch.equal(after[name], start[name])}
    assert moved == trained
    statistics = [name for name in start if "running" in name]
    assert any(torch.equal(after[name], start[name]) for name in statistics) == (technique == "bitfit")


@pytest.mark.parametrize(
    ("lora", "mistake"),
    [
        ({"rank": 0}, "lora.rank"),
        ({"alpha": 0}, "lora.alpha"),
        ({"dropout": 1}, "lora.dropout"),
        ({"target": "all"}, "lora.target: no such key; the nearest is targets"),
        ({"targets": "everything"}, "lora.targets"),
        ("adalora", "lora: the text `adalora`, wanted lora, dora or ia3"),
        (True, "lora"),
    ],
    ids=str,
)
def test_mistakes_in_a_recipe_are_told_with_their_key(lora: object, mistake: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe_of(tmp_path, lora=lora)
    assert mistake in str(caught.value)


def test_targets_that_are_not_there_are_told_before_anything_is_written(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, lora={"targets": {"match": ["conv3"]}})
    with pytest.raises(SelectorError, match=r"adapters in match: \[conv3\].*the nearest"):
        finetune(recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_with_adapters_begin_nothing_and_merged_ones_do(run: Path, tmp_path: Path) -> None:
    weights = run / "checkpoints" / "best.safetensors"
    with pytest.raises(WeightsError, match=r"they have adapters in them \(such as around conv1\).*frostline export"):
        finetune(tiny_recipe(tmp_path, f"model.weights={weights}"), out=tmp_path / "run")
    (merged,) = export_run(run, form="weights", to=tmp_path / "merged").files
    record = finetune(tiny_recipe(tmp_path, f"model.weights={merged.path}", "norm=eval"), out=tmp_path / "run")
    assert record.status == "finished"


def test_a_head_whose_name_is_the_end_of_another_is_exported_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))\n"
        "    return nn.Sequential(inner, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Identity(), nn.Linear(4, 5))\n"
    )
    recipe = recipe_of(tmp_path, model={"name": f"{tmp_path / 'own.py'}:net"})
    finetune(recipe, out=tmp_path / "run")
    (written,) = export_run(tmp_path / "run", form="adapters").files  # PEFT takes `4` for the end of `0.4`
    assert "frostline.lora.load_adapters" in written.code[1]
    assert written.apart == 0


def test_a_module_that_is_called_as_peft_calls_its_own_is_no_adapted_one(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from torch import nn\n"
        "class Body(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.base_layer, self.more = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)\n"
        "    def forward(self, x): return self.more(self.base_layer(x).relu())\n"
        "def net(): return nn.Sequential(Body(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))\n"
    )
    recipe = recipe_of(tmp_path, model={"name": f"{tmp_path / 'own.py'}:net"})
    finetune(recipe, out=tmp_path / "run")
    images = torch.randn(2, 3, 16, 16)
    assert load_run(tmp_path / "run").model(images).shape == (2, 3)
    (written,) = export_run(tmp_path / "run", form="adapters").files
    assert written.apart == 0
    assert export_run(tmp_path / "run", form="weights").files


def test_a_new_head_that_is_held_belongs_to_the_adapters(tmp_path: Path) -> None:
    phases = [{"epochs": 1, "freeze": {"match": ["*"]}, "lr": 0.05}]
    finetune(recipe_of(tmp_path, phases=phases), out=tmp_path / "run")
    (written,) = export_run(tmp_path / "run", form="adapters").files
    tensors = load_file(written.path / "adapter_model.safetensors")
    assert "base_model.model.fc.weight" in tensors
    assert written.apart == 0


def test_a_buffer_of_the_networks_own_is_no_reason_to_leave_adapters_out(tmp_path: Path) -> None:
    network = """
def begin(self):
    self.register_buffer("scale", torch.ones(3, 1, 1))
"""
    finetune(recipe_of(tmp_path, network=network), out=tmp_path / "run")
    (written,) = export_run(tmp_path / "run", form="adapters").files
    assert written.apart == 0


@pytest.mark.parametrize(("key", "value"), [("rank", 64), ("alpha", 9), ("dropout", 0.5)])
def test_settings_that_ia3_has_not_are_refused(key: str, value: float, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=rf"lora\.{key}: {value:g}.*, and ia3 has none"):
        recipe_of(tmp_path, lora={"kind": "ia3", key: value})
