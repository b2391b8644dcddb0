"""Exports: what they hold loads where it belongs and computes what the run's network computes, or nothing is left."""

import json
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import timm
import torch
import torchvision
import transformers
from PIL import Image
from torch import Tensor, nn

from backbones.tiny_huggingface import config_of, save
from frostline.backbones import InputSpec
from frostline.deployment import export as export_module
from frostline.deployment.agreement import distance
from frostline.deployment.export import export_run
from frostline.deployment.onnx import onnx_model
from frostline.errors import NetworkError, RunError, RunFailure
from frostline.recipe import finetune
from training.tiny import CLASSES, SIDE, Twin, tiny_recipe

# An exporter that traces a network takes seconds, whatever the network.
pytestmark = pytest.mark.recipe


def trained(
    folder: Path,
    *,
    name: str | None = None,
    network: str = "",
    head: str = "linear",
    size: int = SIDE,
    **data: Any,
) -> Path:
    """Train for one epoch, take the pictures away, and name the run."""
    model = {} if name is None else {"model": {"name": name, "weights": "none"}}
    folder.mkdir(exist_ok=True)
    recipe = tiny_recipe(
        folder,
        network=network,
        data={"train": "photos", "val": 0.25, "size": size, **data},
        phases=[{"epochs": 1, "freeze": "none", "lr": 0.05}],
        head=head,
        **model,
    )
    finetune(recipe, out=folder / "run")
    shutil.rmtree(folder / "photos")
    return folder / "run"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("own"))


@pytest.fixture
def run(own: Path, tmp_path: Path) -> Path:
    """The run of a network in a user's file, where a test may write."""
    return Path(shutil.copytree(own, tmp_path / "run"))


def twin_of(run: Path) -> Twin:
    twin = Twin()
    twin.load_state_dict(safetensors.torch.load_file(run / "checkpoints" / "best.safetensors"))
    return twin.eval()


def answers(path: Path, images: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(path)
    return torch.from_numpy(session.run(["scores"], {"images": images.numpy()})[0])


def test_onnx_and_weights_of_a_users_network(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    done = export_run(run)
    assert capfd.readouterr() == ("", "")
    assert done.folder == run / "export"
    assert {path.name for path in done.folder.iterdir()} == {"model.onnx", "model.safetensors", "model.json"}
    for path in done.folder.iterdir():
        assert path.stat().st_mode & 0o044 == 0o044, path  # others may read it
    assert [file.path.name for file in done.files] == ["model.onnx", "model.safetensors"]
    assert all(file.apart <= 1e-4 for file in done.files)
    twin = twin_of(run)
    for count in (1, 3, 7):
        images = torch.randn(count, 3, SIDE, SIDE)
        with torch.no_grad():
            assert torch.allclose(answers(done.folder / "model.onnx", images), twin(images), atol=1e-4)
    Twin().load_state_dict(safetensors.torch.load_file(done.folder / "model.safetensors"), strict=True)
    wanted = {
        "classes": list(CLASSES),
        "size_px": SIDE,
        "channels": "rgb",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "files": ["model.onnx", "model.safetensors"],
    }
    card = json.loads((done.folder / "model.json").read_text())
    assert card.items() >= wanted.items()
    model = onnx.load(done.folder / "model.onnx")
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(said["classes"]) == list(CLASSES)
    assert {key: json.loads(said[key]) for key in ("size_px", "mean", "std")} == {
        key: wanted[key] for key in ("size_px", "mean", "std")
    }
    assert (said["channels"], said["frostline"]) == ("rgb", card["frostline"])
    assert [entry.name for entry in model.graph.input] == ["images"]
    assert [entry.name for entry in model.graph.output] == ["scores"]
    assert json.loads(json.dumps(done.to_json()))["files"][0]["path"] == str(done.folder / "model.onnx")


LIBRARIES = {"timm/test_resnet.r160_in1k": 64, "timm/test_vit": 160, "torchvision/squeezenet1_1": 64}


@pytest.mark.parametrize(("name", "size"), LIBRARIES.items(), ids=LIBRARIES.keys())
def test_the_lines_that_are_told_load_the_weights(name: str, size: int, tmp_path: Path) -> None:
    run = trained(tmp_path, name=name, size=size)
    (file,) = export_run(run, form="weights").files
    assert not (run / "export" / "model.onnx").exists()
    told: dict[str, Any] = {"timm": timm, "torchvision": torchvision, "safetensors": safetensors}
    assert len(file.code) == 2
    for line in file.code:
        exec(line, told)
    state = safetensors.torch.load_file(run / "checkpoints" / "best.safetensors")
    assert told["model"].state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in told["model"].state_dict().items())


def test_a_network_of_hugging_face_is_a_folder_that_loads_there(tmp_path: Path) -> None:
    run = trained(tmp_path, name=f"hf/{save(tmp_path / 'vit')}", size=32)
    export_run(run, form="weights")
    done = export_run(run, form="weights")  # a second one takes the place of the first
    (file,) = done.files
    assert file.path == run / "export" / "huggingface"
    assert {path.name for path in file.path.iterdir()} == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    }
    assert {path.name for path in done.folder.iterdir()} == {"huggingface", "model.json"}
    told: dict[str, Any] = {"transformers": transformers}
    for line in file.code:
        exec(line, told)
    assert told["model"].config.id2label == dict(enumerate(CLASSES))
    pixels = np.full((50, 90, 3), 128, dtype=np.uint8)
    with torch.no_grad():
        logits = told["model"](**told["processor"](images=pixels, return_tensors="pt")).logits
    assert logits.shape == (1, len(CLASSES))
    grey = Image.fromarray(pixels[:, :, 0])
    wanted = told["processor"](images=pixels, return_tensors="pt")["pixel_values"]
    for kind in ("L", "P", "RGBA"):
        values = told["processor"](images=grey.convert(kind), return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(values, wanted)


def test_a_few_shot_head_is_in_the_onnx_and_in_no_library(tmp_path: Path) -> None:
    run = trained(tmp_path, name="timm/test_resnet.r160_in1k", size=64, head="few_shot")
    with pytest.raises(RunError, match=r"the run has `head: few_shot`.*write ONNX \(`--format onnx`\)"):
        export_run(run, form="weights")
    assert not (run / "export").exists()
    done = export_run(run)
    assert [file.path.name for file in done.files] == ["model.onnx"]
    assert done.notes[0].startswith("weights were left out: the run has `head: few_shot`")
    assert answers(done.folder / "model.onnx", torch.randn(2, 3, 64, 64)).shape == (2, len(CLASSES))


def test_another_folder_keeps_what_else_is_in_it(run: Path, tmp_path: Path) -> None:
    place = tmp_path / "deep" / "place"
    place.mkdir(parents=True)
    (place / "notes.txt").write_text("mine")
    (place / "model.safetensors").write_bytes(b"old")
    export_run(run, to=place, form="weights")
    assert (place / "notes.txt").read_text() == "mine"
    assert (place / "model.safetensors").read_bytes() != b"old"
    assert sorted(path.name for path in place.parent.iterdir()) == ["place"]  # nothing is left beside it
    assert not (run / "export").exists()


def test_what_is_written_lies_in_the_folder_that_is_there(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be mounted there, or its parent may be nobody's to write in."""
    places, make = [], tempfile.TemporaryDirectory

    def noted(**words: Any) -> Any:
        places.append(words["dir"])
        return make(**words)

    monkeypatch.setattr(tempfile, "TemporaryDirectory", noted)
    (tmp_path / "out").mkdir()
    export_run(run, to=tmp_path / "out", form="weights")
    assert places == [tmp_path / "out"]
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_an_opset(run: Path) -> None:
    export_run(run, form="onnx", opset=18)
    (version,) = (entry.version for entry in onnx.load(run / "export" / "model.onnx").opset_import if not entry.domain)
    assert version == 18


@pytest.mark.parametrize("opset", [3, 99])
def test_an_opset_that_cannot_be_written_is_an_error(run: Path, opset: int) -> None:
    with pytest.raises(RunError, match=f"export to ONNX with opset {opset}: .* leave --opset out") as caught:
        export_run(run, form="onnx", opset=opset)
    assert "\n" not in str(caught.value)
    assert not (run / "export").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named_with_what_installs_it(
    run: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RunError, match=rf"{package} is not installed. `pip install 'frostline\[onnx\]'`"):
        export_run(run)
    assert not (run / "export").exists()


class Draws(nn.Module):
    """Gives something else each time: its export cannot agree with it."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)) + torch.rand(images.shape[0], 3)


class Asks(nn.Module):
    """Decides by a value, which no exporter can follow."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)) if images.sum().item() > 0 else images.amax((2, 3))


class Bessel(nn.Module):
    """Computes what ONNX has no operator for."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.special.bessel_j0(images).mean((2, 3))


STRANGE = {
    "another answer": (Draws(), r"its scores are \S+ of the largest away"),
    "a value": (Asks(), r"cannot be exported \(GuardOnDataDependentSymNode: Could not guard on"),
    "no such operator": (Bessel(), r"cannot be exported \(DispatchError: No ONNX function found for .*bessel_j0"),
}


@pytest.mark.parametrize(("network", "says"), STRANGE.values(), ids=STRANGE.keys())
def test_what_does_not_agree_is_not_left_behind(
    network: nn.Module, says: str, run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    loaded = export_module.load_run(run)
    monkeypatch.setattr(export_module, "load_run", lambda _: replace(loaded, model=network.eval()))
    capfd.readouterr()
    with pytest.raises(RunFailure, match=says) as caught:
        export_run(run, form="onnx")
    assert capfd.readouterr() == ("", "")
    assert str(caught.value).isprintable()  # no line breaks, and no codes for colours
    assert "Next steps" not in str(caught.value)
    assert not (run / "export").exists()


ASKS = """
def between(self, x):
    return x if x.sum().item() >= 0 else -x
"""


def test_where_onnx_fails_the_weights_are_kept(tmp_path: Path) -> None:
    run = trained(tmp_path, network=ASKS)
    done = export_run(run)
    assert [file.path.name for file in done.files] == ["model.safetensors"]
    assert {path.name for path in done.folder.iterdir()} == {"model.safetensors", "model.json"}
    assert json.loads((done.folder / "model.json").read_text())["files"] == ["model.safetensors"]
    assert [note.partition(" (")[0] for note in done.notes if "ONNX" in note] == [
        "ONNX was left out: the network cannot be exported"
    ]


def test_where_onnx_fails_and_no_weights_can_be_written_nothing_is(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = export_module.load_run(run)
    monkeypatch.setattr(export_module, "load_run", lambda _: replace(loaded, model=Asks().eval()))
    refusal = RunError("export weights", found="none would load", do="write ONNX")
    monkeypatch.setattr(export_module, "_refusal", lambda _: refusal)
    with pytest.raises(RunFailure, match="the network cannot be exported"):
        export_run(run)
    assert not (run / "export").exists()


def test_a_wrong_opset_is_a_mistake_whatever_weights_there_are(run: Path) -> None:
    with pytest.raises(RunError, match="leave --opset out"):
        export_run(run, opset=3)
    assert not (run / "export").exists()


EARLIER = {"weights": "model.onnx", "onnx": "model.safetensors"}


@pytest.mark.parametrize(("form", "left"), EARLIER.items(), ids=EARLIER.keys())
def test_what_an_earlier_export_left_is_told(form: Any, left: str, run: Path) -> None:
    assert not any("earlier" in note for note in export_run(run).notes)
    before = (run / "export" / left).read_bytes()
    done = export_run(run, form=form)
    assert f"{left} there is of an earlier export" in done.notes
    assert (run / "export" / left).read_bytes() == before
    assert left not in json.loads((run / "export" / "model.json").read_text())["files"]
    assert not any("earlier" in note for note in export_run(run).notes)


def test_weights_that_compute_something_else_elsewhere_are_not_left_behind(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = export_module.load_run(run)
    other = twin_of(run)
    other.register_forward_hook(lambda *_: torch.zeros(1))  # whatever the library's version has changed
    monkeypatch.setattr(export_module, "rebuilt", lambda *_, **__: (other, loaded.spec))
    with pytest.raises(RunFailure, match="loaded elsewhere, it gives scores inf of the largest away"):
        export_run(run, form="weights")
    assert not (run / "export").exists()


def test_weights_that_do_not_load_strictly_are_not_left_behind(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = export_module.load_run(run)
    monkeypatch.setattr(export_module, "rebuilt", lambda *_, **__: (Twin(num_classes=7), loaded.spec))
    with pytest.raises(RunFailure, match="does not take it strictly"):
        export_run(run, form="weights")
    assert not (run / "export").exists()


def test_no_run_and_no_checkpoint(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such folder"):
        export_run(tmp_path / "absent")
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(RunError, match="no checkpoint there"):
        export_run(run)


def test_a_network_that_is_gone(own: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(own, tmp_path / "run"))
    text = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(text.replace("net.py", "gone.py"))
    with pytest.raises(NetworkError, match="no file"):
        export_run(run)
    assert not (run / "export").exists()


def test_a_file_in_the_way(run: Path) -> None:
    (run / "export").write_text("mine")
    with pytest.raises(RunError, match="it is a file"):
        export_run(run, form="weights")
    assert (run / "export").read_text() == "mine"


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("network", ["own", "hugging face"])
def test_a_full_disk_leaves_what_was_there(network: str, run: Path, tmp_path: Path) -> None:
    if network == "hugging face":
        run = trained(tmp_path / "other", name=f"hf/{save(tmp_path / 'vit')}", size=32)
    export_run(run, form="weights")
    before = {path: path.read_bytes() for path in (run / "export").rglob("*") if path.is_file()}
    with files_of_at_most(1000), pytest.raises(RunError) as caught:
        export_run(run, form="weights")
    assert str(caught.value).startswith(f"export {run / 'export'}: it cannot be written (")
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in (run / "export").rglob("*") if path.is_file()} == before
    assert [path.name for path in run.iterdir() if path.name.startswith(".")] == []


def test_a_failed_run_is_told(run: Path) -> None:
    record = json.loads((run / "record.json").read_text())
    (run / "record.json").write_text(json.dumps({**record, "status": "failed", "failure": "the loss became NaN"}))
    assert (
        "the run failed (the loss became NaN): these are the weights that it kept"
        in export_run(run, form="weights").notes
    )


SPEC = InputSpec(size_px=4, mean=(0.0,), std=(1.0,))


def scaled(share: float) -> Any:
    return lambda images: images.mean((2, 3)) * (1 + share)


DISTANCES = {
    "the same": (scaled(0), 0.0),
    "a little": (scaled(1e-3), 1e-3),
    "not a number": (scaled(float("nan")), float("nan")),
    "another shape": (lambda images: images.mean((1, 2, 3)), float("inf")),
}


@pytest.mark.parametrize(("given", "share"), DISTANCES.values(), ids=DISTANCES.keys())
def test_the_distance_is_a_share_of_the_largest_score(given: Any, share: float) -> None:
    assert distance(given, scaled(0), spec=SPEC) == pytest.approx(share, rel=1e-3, nan_ok=True)


def test_a_network_that_gives_zeros_agrees_with_zeros_alone() -> None:
    assert distance(lambda x: x[:, :, 0, 0] * 0, lambda x: x[:, :, 0, 0] * 0, spec=SPEC) == 0
    assert distance(scaled(0), lambda x: x[:, :, 0, 0] * 0, spec=SPEC) == float("inf")


PICTURES_32 = InputSpec(size_px=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def swin() -> Any:
    """A network whose fused attention torch's exporter does not follow."""
    return transformers.SwinForImageClassification(config_of("swin")).eval()


class Inside(nn.Module):
    """A user's network around one of transformers, with a classifier of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.body = swin()
        self.fc = nn.Linear(self.body.config.num_labels, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.body(images).logits)


@pytest.mark.parametrize("network", [swin, Inside])
def test_fused_attention_that_cannot_be_exported_is_computed_step_by_step(network: Any) -> None:
    torch.manual_seed(0)
    model = network().eval()
    config = getattr(model, "body", model).config
    assert config._attn_implementation == "sdpa"  # otherwise there is nothing to see here
    content, _ = onnx_model(model, PICTURES_32, about={})
    assert config._attn_implementation == "sdpa"
    session = onnxruntime.InferenceSession(content)
    for count in (1, 5):
        images = torch.randn(count, 3, 32, 32)
        with torch.no_grad():
            wanted = model(images)
        (given,) = session.run(["scores"], {"images": images.numpy()})
        assert torch.allclose(torch.from_numpy(given), getattr(wanted, "logits", wanted), atol=1e-4)


def clip() -> Any:
    """A network with two configurations inside its own, one of them for texts that it never reads."""
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.CLIPConfig(
        vision_config={**small, "image_size": 32, "patch_size": 8}, text_config=small, num_labels=3
    )
    return transformers.CLIPForImageClassification(config).eval()


@pytest.mark.parametrize("network", [swin, clip])
def test_attention_is_given_back_where_the_second_try_fails_too(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    configs = [model.config, *(getattr(model.config, name) for name in model.config.sub_configs)]
    before = [config._attn_implementation for config in configs]
    tried: list[str] = []

    def fails(*_: object, **__: object) -> None:
        tried.append(model.config._attn_implementation)
        raise ValueError(f"\n\x1b[96mnot with\x1b[0m {tried[-1]}\nNext steps:")

    monkeypatch.setattr("torch.onnx.export", fails)
    with pytest.raises(RunFailure, match=r"\(ValueError: not with eager\)"):
        onnx_model(model, PICTURES_32, about={})
    assert tried == ["sdpa", "eager"]
    assert [config._attn_implementation for config in configs] == before


def eager(model: Any) -> Any:
    model.set_attn_implementation("eager")
    return model


class Own(Asks):
    """Has a method of that name, and nothing else of transformers."""

    def set_attn_implementation(self, kind: str) -> None:
        raise AssertionError(f"it was asked for {kind}")


@pytest.mark.parametrize("network", [Asks, Own, lambda: eager(swin())], ids=["none", "its own", "already so"])
def test_a_network_without_another_attention_is_tried_once(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def fails(*_: object, **__: object) -> None:
        tried.append(1)
        raise ValueError

    monkeypatch.setattr("torch.onnx.export", fails)
    with pytest.raises(RunFailure, match=r"cannot be exported \(ValueError\)"):
        onnx_model(network(), PICTURES_32, about={})
    assert len(tried) == 1


def test_scores_are_the_first_of_what_a_network_gives() -> None:
    class Several(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 3)

        def forward(self, images: Tensor) -> dict[str, Any]:
            features = self.conv(images)
            return {"loss": None, "logits": features.mean((2, 3)), "features": features}

    content, apart = onnx_model(Several().eval(), InputSpec(size_px=8, mean=(0.0,), std=(1.0,)), about={"a": "b"})
    assert apart <= 1e-4
    assert [entry.name for entry in onnxruntime.InferenceSession(content).get_outputs()] == ["scores"]
