"""The networks that other libraries make from a name: those that our weights must load into."""

from pathlib import Path

import pytest
import timm
import torch
import transformers
from torchvision import models

from frostline.backbones import InputSpec, build, classifier_name, elsewhere, load_huggingface, save_huggingface
from frostline.errors import RunFailure
from frostline.heads import replace_classifier

from .tiny_huggingface import SIDE, plain, save

CODE = {
    "timm/test_resnet.r160_in1k": 'timm.create_model("test_resnet.r160_in1k", num_classes=3)',
    "torchvision/squeezenet1_1": 'torchvision.models.get_model("squeezenet1_1", num_classes=3)',
    "torchvision/googlenet": (
        'torchvision.models.get_model("googlenet", num_classes=3, aux_logits=False, transform_input=True, '
        "init_weights=False)"
    ),
}


@pytest.mark.parametrize(("name", "code"), CODE.items(), ids=CODE.keys())
def test_what_the_code_makes_takes_our_weights_strictly(name: str, code: str) -> None:
    backbone = build(name, weights="none")
    replace_classifier(backbone.model, classifier_name(backbone.model), num_classes=3)
    there = elsewhere(name, num_classes=3, like=backbone.model)
    assert there is not None
    assert there.code == code
    assert not there.model.training
    made = eval(code, {"timm": timm, "torchvision": __import__("torchvision")}).eval()
    images = torch.randn(1, 3, 64, 64)
    for network in (there.model, made):
        network.load_state_dict(backbone.model.state_dict(), strict=True)
        with torch.no_grad():
            assert torch.equal(network(images), backbone.model(images))


@pytest.mark.parametrize("name", ["frostline/glyph_resnet", "net.py:Net", "timm/net.py:Net", "hf/org/vit"])
def test_no_library_makes_what_is_not_its_own(name: str) -> None:
    assert elsewhere(name, num_classes=3, like=torch.nn.Linear(2, 2)) is None


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_published_weights_want_the_input_changed_however_they_come(name: str) -> None:
    """Torchvision's networks change their input only when torchvision itself loads the weights."""
    with torch.device("meta"):
        assert build(f"torchvision/{name}", weights="none").model.transform_input is True
        assert models.get_model(name, weights=None, init_weights=False).transform_input is False


SPECS = {
    "rgb": InputSpec(size_px=SIDE, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)),
    "bgr": InputSpec(size_px=SIDE, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), channels="bgr"),
    "one value for all": InputSpec(size_px=SIDE, mean=(0.5,), std=(0.25,)),
    "another size": InputSpec(size_px=40, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_a_saved_folder_has_the_classes_and_the_input(spec: InputSpec, tmp_path: Path) -> None:
    model = build(f"hf/{save(tmp_path / 'before')}").model
    replace_classifier(model, "classifier", num_classes=2)
    folder = tmp_path / "after"
    assert save_huggingface(model, folder, classes=("cat", "dog"), spec=spec) == ()
    loaded = transformers.AutoModelForImageClassification.from_pretrained(folder)
    assert loaded.config.id2label == {0: "cat", 1: "dog"}
    assert loaded.config.label2id == {"cat": 0, "dog": 1}
    assert torch.equal(loaded.classifier.weight, model.classifier.weight)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    colour = (20, 120, 220)
    values = processor(images=plain(colour), return_tensors="pt")["pixel_values"]
    assert values.shape == (1, 3, spec.size_px, spec.size_px)
    shown = colour[::-1] if spec.channels == "bgr" else colour
    many = 3 // len(spec.mean)
    wanted = [(v / 255 - m) / s for v, m, s in zip(shown, spec.mean * many, spec.std * many, strict=True)]
    assert values[0, :, 0, 0].tolist() == pytest.approx(wanted, abs=1e-3)
    # And as a name of a network of ours, it is what it was.
    again = build(f"hf/{folder}")
    assert again.notes == ()
    assert again.input.mean == pytest.approx(spec.mean * many, abs=1e-5)


def test_a_picture_is_stretched_and_nothing_of_it_cut_off(tmp_path: Path) -> None:
    model = build(f"hf/{save(tmp_path / 'before')}").model
    save_huggingface(model, tmp_path, classes=("a",) * 6, spec=SPECS["rgb"])
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    picture = plain((0, 0, 0)).resize((400, 100))
    picture.paste((255, 255, 255), (0, 0, 40, 100))
    picture.paste((255, 255, 255), (360, 0, 400, 100))
    row = processor(images=picture, return_tensors="pt")["pixel_values"][0, 0, SIDE // 2]
    assert (row > 1).nonzero().flatten().tolist() == [0, 1, 2, 29, 30, 31]


def test_no_processor_is_written_where_none_gives_what_the_network_takes(tmp_path: Path) -> None:
    model = build(f"hf/{save(tmp_path / 'before', num_channels=1)}").model
    spec = InputSpec(size_px=SIDE, mean=(0.5,), std=(0.5,), channels="grey")
    notes = save_huggingface(model, tmp_path / "after", classes=("a",) * 6, spec=spec)
    assert notes == ("no image processor of transformers gives grey pictures: prepare them yourself",)
    assert not (tmp_path / "after" / "preprocessor_config.json").exists()


def test_a_folder_that_lost_a_tensor_is_a_failure(tmp_path: Path) -> None:
    model = build(f"hf/{save(tmp_path / 'before')}").model
    model.classifier = torch.nn.Sequential(model.classifier)  # its names are no longer those of its class
    save_huggingface(model, tmp_path / "after", classes=("a",) * 6, spec=SPECS["rgb"])
    with pytest.raises(RunFailure, match=r"transformers does not load it strictly: \d tensors differ"):
        load_huggingface(tmp_path / "after")
