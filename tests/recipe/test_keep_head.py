"""A second training goes on with the head of the first, where that is asked for; else the head is new."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from backbones.tiny_huggingface import save
from frostline.deployment import export_run
from frostline.errors import RecipeError, WeightsError
from frostline.recipe import assemble, finetune
from training.tiny import Twin, tiny_recipe, write_network, write_pictures

THREE = "def begin(self):\n    self.fc = nn.Linear(8, 3)"


def going_on(folder: Path, weights: Path | str, *, keep: bool = True, network: str = "", **keys: Any) -> Any:
    name = write_network(folder, network)
    model = {"name": name, "weights": str(weights), "keep_head": keep}
    return tiny_recipe(folder, network=network, model=model, **keys)


@pytest.mark.recipe
@pytest.mark.parametrize("head", ["linear", "few_shot"])
def test_a_run_goes_on_from_the_checkpoint_of_another(head: str, tmp_path: Path) -> None:
    finetune(tiny_recipe(tmp_path, head=head), out=tmp_path / "first")
    weights = tmp_path / "first/checkpoints/best.safetensors"
    state = load_file(weights)
    kept = assemble(going_on(tmp_path, weights, head=head))
    assert all(torch.equal(tensor, state[name]) for name, tensor in kept.model.state_dict().items())
    assert not any("head" in line for line in kept.warnings)
    anew = assemble(going_on(tmp_path, weights, head=head, keep=False))
    own = anew.model.state_dict()
    assert [name for name in own if not torch.equal(own[name], state[name])] == [
        name for name in own if name.startswith("fc.")
    ]
    assert "the weights have a head for 3 classes too: `model.keep_head: true` begins with it" in anew.warnings
    record = finetune(going_on(tmp_path, weights, head=head), out=tmp_path / "second")
    assert record.proof["ok"]


@pytest.mark.parametrize(
    ("made", "keys", "says"),
    [
        ({"num_classes": 77}, {}, r"their head is fc\.bias \(77,\), fc\.weight \(77, 8\), wanted fc\.bias \(3,\)"),
        ({"num_classes": 3}, {"head": "few_shot"}, r"their head is fc\.bias \(3,\), .*wanted fc\.0\.bias \(256,\)"),
        (None, {}, r"their head is not there, wanted fc\.bias \(3,\)"),
    ],
    ids=["for other classes", "of another kind", "none"],
)
def test_a_file_with_another_head_is_an_error(made: Any, keys: Any, says: str, tmp_path: Path) -> None:
    state = Twin(**(made or {})).state_dict()
    if made is None:
        state = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=says) as caught:
        assemble(going_on(tmp_path, tmp_path / "other.safetensors", **keys))
    assert "\n" not in str(caught.value)


def test_what_a_network_comes_with_is_kept(tmp_path: Path) -> None:
    torch.manual_seed(3)
    twin = Twin(num_classes=5)
    twin.fc = nn.Linear(8, 3)
    kept = assemble(going_on(tmp_path, "pretrained", network=THREE)).model.state_dict()
    assert torch.equal(kept["fc.weight"], twin.fc.weight)
    with pytest.raises(WeightsError, match=r"weights pretrained: their head is fc\.bias \(5,\)"):
        assemble(going_on(tmp_path, "pretrained"))
    with pytest.raises(WeightsError, match=r"their head is fc\.bias \(3,\), .*wanted fc\.0\.bias \(256,\)"):
        assemble(going_on(tmp_path, "pretrained", network=THREE, head="few_shot"))


@pytest.mark.recipe
def test_the_head_of_a_run_is_kept_for_its_own_classes_alone(tmp_path: Path) -> None:
    finetune(tiny_recipe(tmp_path), out=tmp_path / "first")
    (tmp_path / "photos/blue").rename(tmp_path / "photos/yellow")
    with pytest.raises(WeightsError, match="their head is for blue, green, red, wanted green, red, yellow"):
        assemble(going_on(tmp_path, tmp_path / "first/checkpoints/best.safetensors"))


def test_no_weights_have_no_head(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos")
    with pytest.raises(RecipeError, match="no head to keep"):
        going_on(tmp_path, "none")


def test_classes_that_a_configuration_names_are_compared(tmp_path: Path) -> None:
    folder = save(tmp_path / "vit", num_labels=3, id2label=dict(enumerate(["blue", "red", "green"])))
    model = {"name": f"hf/{folder}", "keep_head": True}
    with pytest.raises(WeightsError, match="their head is for blue, red, green, wanted blue, green, red"):
        assemble(tiny_recipe(tmp_path, model=model))


def test_of_a_head_for_nobody_knows_which_classes_the_order_is_told(tmp_path: Path) -> None:
    save_file(Twin().state_dict(), tmp_path / "model.safetensors")
    order = "the weights do not say for which classes: taken for blue, green, red, in this order"
    assert f"model.keep_head: {order}" in assemble(going_on(tmp_path, tmp_path / "model.safetensors")).warnings
    hint = f"the weights have a head for 3 classes too: `model.keep_head: true` begins with it; {order}"
    assert hint in assemble(going_on(tmp_path, tmp_path / "model.safetensors", keep=False)).warnings


def test_what_was_exported_says_its_classes_beside_it(tmp_path: Path) -> None:
    save_file(Twin().state_dict(), tmp_path / "model.safetensors")
    card = tmp_path / "model.json"
    card.write_text(json.dumps({"classes": ["blue", "green", "red"], "files": ["model.safetensors"]}))
    assert not any("head" in line for line in assemble(going_on(tmp_path, tmp_path / "model.safetensors")).warnings)
    card.write_text(json.dumps({"classes": ["red", "green", "blue"], "files": ["model.safetensors"]}))
    with pytest.raises(WeightsError, match="their head is for red, green, blue, wanted blue, green, red"):
        assemble(going_on(tmp_path, tmp_path / "model.safetensors"))
    for other in ("[1, 2]", '{"classes": ["red", "green", "blue"], "files": ["model.onnx"]}'):
        card.write_text(other)
        warnings = assemble(going_on(tmp_path, tmp_path / "model.safetensors")).warnings
        assert any("in this order" in line for line in warnings)


@pytest.mark.recipe
def test_what_a_run_exported_is_gone_on_from(tmp_path: Path) -> None:
    finetune(tiny_recipe(tmp_path, "phases.0.epochs=1"), out=tmp_path / "first")
    export_run(tmp_path / "first", form="weights")
    weights = tmp_path / "first/export/model.safetensors"
    assert not any("head" in line for line in assemble(going_on(tmp_path, weights)).warnings)
    (tmp_path / "photos/blue").rename(tmp_path / "photos/yellow")
    with pytest.raises(WeightsError, match="their head is for blue, green, red, wanted green, red, yellow"):
        assemble(going_on(tmp_path, weights))
