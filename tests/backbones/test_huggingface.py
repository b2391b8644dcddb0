"""Networks of Hugging Face: from folders and names to trained heads, and every mistake in one line."""

import json
import logging
import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

from frostline.backbones import build, classifier_name
from frostline.errors import NetworkError, WeightsError
from frostline.heads import replace_classifier
from frostline.tasks import scores

from .tiny_huggingface import FAMILIES, SIDE, config_of, plain, save

CLASSIFIERS = {
    "vit": "classifier",
    "deit": "classifier",
    "beit": "classifier",
    "dinov2": "classifier",
    "resnet": "classifier.1",
    "convnext": "classifier",
    "swin": "classifier",
    "levit": "classifier.linear",
    "mobilevit": "classifier",
    "regnet": "classifier.1",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_gives_a_network_that_takes_a_new_head(family: str, tmp_path: Path) -> None:
    folder = save(tmp_path / family, family)
    backbone = build(f"hf/{folder}")
    assert backbone.name == f"hf/{folder}"
    assert type(backbone.model).__name__ == FAMILIES[family][0]
    assert not backbone.model.training
    theirs = getattr(transformers, FAMILIES[family][0]).from_pretrained(folder)
    images = torch.randn(2, *backbone.input.example().shape[1:])
    with torch.no_grad():
        assert torch.equal(scores(backbone.model(images)), theirs(images).logits)
    assert classifier_name(backbone.model) == CLASSIFIERS[family]
    replace_classifier(backbone.model, CLASSIFIERS[family], num_classes=5)
    assert classifier_name(backbone.model) == CLASSIFIERS[family]
    assert scores(backbone.model(images)).shape == (2, 5)


# Those that are given something else than pictures; an assembly refuses them when it tries them.
NO_PICTURES = {"imagegpt", "shieldgemma2", "siglip2"}
# It has positions for 56 x 56 by default, and no network that was published has.
ODD = {"perceiver"}
SEVERAL = {"swiftformer"}
NEEDS_MORE = {"dinat"}


def _families() -> list[str]:
    mapping = transformers.models.auto.modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    return sorted(set(mapping) - NO_PICTURES - ODD - SEVERAL - NEEDS_MORE)


@pytest.mark.parametrize("family", _families())
def test_every_image_classifier_of_transformers_takes_a_new_head(family: str, tmp_path: Path) -> None:
    transformers.AutoConfig.for_model(family).save_pretrained(tmp_path)
    with torch.device("meta"):  # neither the head nor its shape needs values
        backbone = build(f"hf/{tmp_path}", weights="none")
        name = classifier_name(backbone.model)
        replace_classifier(backbone.model, name, num_classes=7)
        assert scores(backbone.model(backbone.input.example())).shape == (1, 7)


PROCESSORS: dict[str, Any] = {
    "square": transformers.ViTImageProcessor(size={"height": SIDE, "width": SIDE}),
    "shortest edge and crop": transformers.CLIPImageProcessor(
        size={"shortest_edge": 40}, crop_size={"height": SIDE, "width": SIDE}
    ),
    "another scale": transformers.ViTImageProcessor(
        size={"height": SIDE, "width": SIDE}, rescale_factor=1 / 127.5, image_mean=[0.1, 0.2, 0.3]
    ),
    "no scale": transformers.ViTImageProcessor(
        size={"height": SIDE, "width": SIDE}, do_rescale=False, image_mean=[100, 110, 120], image_std=[50, 60, 70]
    ),
    "no normalisation": transformers.ViTImageProcessor(size={"height": SIDE, "width": SIDE}, do_normalize=False),
    "channels the other way round": transformers.MobileViTImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    ),
    "normalised, and then turned round": transformers.PPLCNetImageProcessor(resize_short=40, crop_size=SIDE),
    "divided twice": transformers.EfficientNetImageProcessor(
        size={"height": SIDE, "width": SIDE}, image_mean=[0.485, 0.456, 0.406], image_std=[0.47853944] * 3
    ),
    "moved to -1 … 1": transformers.EfficientNetImageProcessor(
        size={"height": SIDE, "width": SIDE}, rescale_offset=True, rescale_factor=1 / 127.5, include_top=False
    ),
    "a smaller middle": transformers.ConvNextImageProcessor(size={"shortest_edge": SIDE}, crop_pct=0.8),
}


@pytest.mark.parametrize("kind", PROCESSORS)
def test_the_input_is_what_the_image_processor_gives(kind: str, tmp_path: Path) -> None:
    backbone = build(f"hf/{save(tmp_path, processor=PROCESSORS[kind])}")
    spec = backbone.input
    assert spec.size_px == SIDE
    assert backbone.notes == ()
    # Like a plain picture of that colour, normalised by hand.
    for colour in ((12, 140, 250), (200, 30, 90)):
        wanted = PROCESSORS[kind](images=plain(colour), return_tensors="pt")["pixel_values"][0, :, SIDE // 2, SIDE // 2]
        shown = colour[::-1] if spec.channels == "bgr" else colour
        given = [(value / 255 - mean) / std for value, mean, std in zip(shown, spec.mean, spec.std, strict=True)]
        assert given == pytest.approx(wanted.tolist(), abs=1e-3)


WORDS = {
    "square": ("rgb", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "no normalisation": ("rgb", (0, 0, 0), (1, 1, 1)),
    "channels the other way round": ("bgr", (0, 0, 0), (1, 1, 1)),
    "normalised, and then turned round": ("bgr", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "no scale": ("rgb", (100 / 255, 110 / 255, 120 / 255), (50 / 255, 60 / 255, 70 / 255)),
}


@pytest.mark.parametrize("kind", WORDS)
def test_the_input_has_the_numbers_of_the_processor(kind: str, tmp_path: Path) -> None:
    spec = build(f"hf/{save(tmp_path, processor=PROCESSORS[kind])}", weights="none").input
    channels, mean, std = WORDS[kind]
    assert spec.channels == channels
    assert spec.mean == pytest.approx(mean, abs=1e-5)
    assert spec.std == pytest.approx(std, abs=1e-5)


def test_without_a_processor_the_network_says_the_size_and_a_note_the_rest(tmp_path: Path) -> None:
    backbone = build(f"hf/{save(tmp_path)}")
    assert (backbone.input.size_px, backbone.input.mean) == (SIDE, (0.485, 0.456, 0.406))
    assert backbone.notes == (
        "it comes without an image processor: 32 px and ImageNet's mean and std are used; `data.size` and "
        "`data.normalize` say otherwise",
    )


NESTED = {"colour": (3, "rgb"), "grey": (1, "grey")}


@pytest.mark.parametrize(("num_channels", "channels"), NESTED.values(), ids=NESTED.keys())
def test_a_network_for_pictures_and_text_says_the_size_of_its_pictures(
    num_channels: int, channels: str, tmp_path: Path
) -> None:
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.CLIPConfig(
        vision_config={**small, "image_size": 48, "patch_size": 8, "num_channels": num_channels},
        text_config={**small, "vocab_size": 20},
        num_labels=4,
    )
    transformers.CLIPForImageClassification(config).save_pretrained(tmp_path)
    backbone = build(f"hf/{tmp_path}")
    spec = backbone.input
    assert (spec.size_px, spec.num_channels, spec.channels) == (48, num_channels, channels)
    assert backbone.notes[0].startswith("it comes without an image processor: 48 px")
    assert scores(backbone.model(spec.example())).shape == (1, 4)


def test_a_damaged_processor_is_a_note_too(tmp_path: Path) -> None:
    folder = save(tmp_path)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "ViTImageProcessor", "size": 1.5})
    )
    assert "image processor" in build(f"hf/{folder}").notes[0]


def test_a_grey_network_takes_one_channel(tmp_path: Path) -> None:
    spec = build(f"hf/{save(tmp_path, num_channels=1, processor=PROCESSORS['square'])}").input
    assert (spec.channels, spec.num_channels, spec.mean) == ("grey", 1, (0.5,))


def test_weights_of_a_body_alone_get_a_new_classifier_and_a_note(tmp_path: Path) -> None:
    folder = save(tmp_path, class_name="ViTModel", processor=PROCESSORS["square"])
    backbone = build(f"hf/{folder}")
    assert (backbone.notes, backbone.head) == ((), {})
    body = transformers.ViTModel.from_pretrained(folder).state_dict()
    kept = backbone.model.vit.state_dict()
    assert all(torch.equal(tensor, body[name]) for name, tensor in kept.items())


def test_the_network_with_a_teacher_is_loaded_with_one_classifier(tmp_path: Path) -> None:
    folder = save(tmp_path, "deit", class_name="DeiTForImageClassificationWithTeacher", processor=PROCESSORS["square"])
    backbone = build(f"hf/{folder}")
    assert type(backbone.model).__name__ == "DeiTForImageClassification"
    assert backbone.notes[0] == (
        "DeiTForImageClassificationWithTeacher has several classifiers: it is loaded as DeiTForImageClassification, "
        "which has one"
    )
    assert backbone.head == {}
    assert classifier_name(backbone.model) == "classifier"


def test_several_classifiers_that_cannot_be_one_are_an_error() -> None:
    model = transformers.DeiTForImageClassificationWithTeacher(config_of("deit"))
    with pytest.raises(NetworkError, match="it has several"):
        classifier_name(model)


def test_no_weights_are_random_ones(tmp_path: Path) -> None:
    folder = save(tmp_path)
    saved = load_file(folder / "model.safetensors")["classifier.weight"]
    torch.manual_seed(0)
    drawn = build(f"hf/{folder}", weights="none").model.classifier.weight
    torch.manual_seed(0)
    again = build(f"hf/{folder}", weights="none").model.classifier.weight
    assert torch.equal(drawn, again)
    assert not torch.equal(drawn, saved)


NAMES = {"its own names": False, "the names that are saved": True}


@pytest.mark.parametrize("saved", NAMES.values(), ids=NAMES.keys())
def test_a_file_of_weights(saved: bool, tmp_path: Path) -> None:
    folder, path = save(tmp_path / "vit"), tmp_path / "w.safetensors"
    other = transformers.ViTForImageClassification(config_of("vit", num_labels=9))
    if saved:
        other.save_pretrained(tmp_path / "other")
        path = tmp_path / "other" / "model.safetensors"
    else:
        save_file(other.state_dict(), path)
    backbone = build(f"hf/{folder}", weights=str(path))
    assert torch.equal(
        backbone.model.vit.state_dict()["embeddings.cls_token"], other.vit.state_dict()["embeddings.cls_token"]
    )
    assert backbone.head is not None
    assert torch.equal(backbone.head["classifier.weight"], other.classifier.weight)


def test_a_file_of_another_network_is_an_error(tmp_path: Path) -> None:
    folder, path = save(tmp_path / "vit"), tmp_path / "w.safetensors"
    save_file(nn.Linear(3, 4).state_dict(), path)
    with pytest.raises(WeightsError, match="of another architecture than ViTForImageClassification") as caught:
        build(f"hf/{folder}", weights=str(path))
    assert str(caught.value).startswith(f"weights {path}: ")


def test_half_precision_weights_are_trained_in_full(tmp_path: Path) -> None:
    model = transformers.ViTForImageClassification(config_of("vit")).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    for weights in ("pretrained", "none"):
        built = build(f"hf/{tmp_path}", weights=weights).model
        assert {parameter.dtype for parameter in built.parameters()} == {torch.float32}


def test_weights_of_a_deeper_network_are_an_error(tmp_path: Path) -> None:
    folder = save(tmp_path / "shallow", num_hidden_layers=1)
    deeper = transformers.ViTForImageClassification(config_of("vit", num_hidden_layers=3))
    save_file(deeper.state_dict(), tmp_path / "deeper.safetensors")
    with pytest.raises(WeightsError, match=r"tensors of more layers \(such as vit\.\S*1\."):
        build(f"hf/{folder}", weights=str(tmp_path / "deeper.safetensors"))


def test_a_head_of_several_layers_is_no_deeper_network(tmp_path: Path) -> None:
    folder = save(tmp_path / "resnet", "resnet")
    other = transformers.ResNetForImageClassification(config_of("resnet")).state_dict()
    other |= {"classifier.3.weight": torch.zeros(3, 4), "classifier.3.bias": torch.zeros(3)}
    save_file(other, tmp_path / "other.safetensors")
    loaded = build(f"hf/{folder}", weights=str(tmp_path / "other.safetensors")).model.state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in loaded.items())


def test_classes_are_known_where_they_have_names(tmp_path: Path) -> None:
    assert build(f"hf/{save(tmp_path / 'plain')}").classes is None
    named = build(f"hf/{save(tmp_path / 'named', num_labels=2, id2label={0: 'cat', 1: 'dog'})}")
    assert named.classes == ("cat", "dog")


def test_weights_in_a_pickle_are_read_as_tensors_alone(tmp_path: Path) -> None:
    folder = save(tmp_path)
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    built = build(f"hf/{folder}").model
    assert torch.equal(built.classifier.weight, state["classifier.weight"])


class Harm:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path: Path) -> None:
    folder, harmed = save(tmp_path), tmp_path / "harmed"
    (folder / "model.safetensors").unlink()
    torch.save({"classifier.weight": Harm(harmed)}, folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="it cannot be read"):
        build(f"hf/{folder}")
    assert not harmed.exists()


def _config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_code_that_comes_with_a_network_is_never_run(tmp_path: Path) -> None:
    folder, harmed = save(tmp_path), tmp_path / "harmed"
    (folder / "own.py").write_text(f"open({str(harmed)!r}, 'w')\nclass Config: pass\nclass Net: pass\n")
    _config(
        folder,
        model_type="stranger",
        auto_map={"AutoConfig": "own.Config", "AutoModelForImageClassification": "own.Net"},
    )
    with pytest.raises(NetworkError, match="it needs code of its own, which is never run here"):
        build(f"hf/{folder}")
    assert not harmed.exists()


def test_a_known_network_with_code_beside_it_is_built_from_transformers_own(tmp_path: Path) -> None:
    folder, harmed = save(tmp_path), tmp_path / "harmed"
    (folder / "own.py").write_text(f"open({str(harmed)!r}, 'w')\nclass Net: pass\n")
    _config(folder, auto_map={"AutoModelForImageClassification": "own.Net"})
    assert type(build(f"hf/{folder}").model).__name__ == "ViTForImageClassification"
    assert not harmed.exists()


def _text_network(folder: Path) -> None:
    settings = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.BertModel(transformers.BertConfig(vocab_size=20, **settings)).save_pretrained(folder)


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


BROKEN: dict[str, tuple[Any, str]] = {
    "no configuration": (_no_config, "has no config.json. name a folder as `save_pretrained` writes it"),
    "a configuration that is no JSON": (lambda folder: (folder / "config.json").write_text("{"), "it cannot be read"),
    "an unknown kind": (
        lambda folder: _config(folder, model_type="vitt"),
        "it cannot be read (ValueError: The checkpoint",
    ),
    "no kind": (lambda folder: (folder / "config.json").write_text("{}"), "it cannot be read"),
    "text, without a tokenizer": (_text_network, "no words of a tokenizer"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "it cannot be read (OSError"),
    "damaged weights": (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 99), "it cannot be read"),
    "another architecture": (
        lambda folder: _config(folder, hidden_size=32),
        "they are of another architecture than ViT",
    ),
}


@pytest.mark.parametrize(("spoil", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_a_folder_that_cannot_be_used_is_an_error_in_one_line(spoil: Any, says: str, tmp_path: Path) -> None:
    folder = save(tmp_path)
    spoil(folder)
    with pytest.raises(NetworkError, match=re.escape(says)) as caught:
        build(f"hf/{folder}")
    assert str(caught.value).startswith(f"network hf/{folder}: ")
    assert "\n" not in str(caught.value)


ABSENT = {
    "absolute": ("hf//nowhere/vit", "no folder /nowhere/vit"),
    "relative": ("hf/./nowhere", "no folder nowhere"),
    "one word": ("hf/vit-base", "no folder vit-base"),
    "too many words": ("hf/a/b/c", "no folder a/b/c"),
    "nothing behind the slash": ("hf/org/", "no folder org"),
}


@pytest.mark.parametrize(("name", "says"), ABSENT.values(), ids=ABSENT.keys())
def test_a_folder_that_is_not_there_is_not_asked_of_the_hub(name: str, says: str) -> None:
    with pytest.raises(NetworkError, match=re.escape(f"network {name}: {says}. name a folder")):
        build(name)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "vit").touch()
    with pytest.raises(NetworkError, match="a file, and no folder"):
        build(f"hf/{tmp_path}/vit")


def test_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "nets" / "vit")
    monkeypatch.chdir(tmp_path)
    assert classifier_name(build("hf/nets/vit").model) == "classifier"


OFFLINE = {"said so": True, "no network": False}


@pytest.mark.parametrize("said", OFFLINE.values(), ids=OFFLINE.keys())
@pytest.mark.parametrize("weights", ["pretrained", "none"])
def test_offline_a_name_on_the_hub_is_an_error_at_once(
    said: bool, weights: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unreachable)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", said)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for proxy in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.upper(), raising=False)
    begun = time.monotonic()
    with pytest.raises(NetworkError, match="no folder org/vit, and it cannot be fetched from the hub") as caught:
        build("hf/org/vit", weights=weights)
    assert time.monotonic() - begun < 10
    assert "HF_HUB_OFFLINE=1" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_loading_says_nothing_and_leaves_the_users_settings(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path, class_name="ViTModel")
    monkeypatch.setenv("DISABLE_SAFETENSORS_CONVERSION", "0")
    transformers.logging.set_verbosity_info()
    transformers.logging.enable_progress_bar()
    capfd.readouterr()
    try:
        build(f"hf/{folder}")
        assert capfd.readouterr() == ("", "")
        assert transformers.logging.get_verbosity() == logging.INFO
        assert transformers.logging.is_progress_bar_enabled()
    finally:
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
