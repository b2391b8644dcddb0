"""Networks of ultralytics: by the names of their files, with their weights, or told what to install."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from frostline.backbones import build
from frostline.errors import NetworkError, WeightsError
from frostline.selection import outline

installed = pytest.mark.skipif(
    importlib.util.find_spec("ultralytics") is None, reason="ultralytics (the extra `yolo`) is not installed"
)


def test_without_ultralytics_the_error_names_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ultralytics", None)
    monkeypatch.delitem(__import__("sys").modules, "ultralytics.nn.tasks", raising=False)
    with pytest.raises(NetworkError, match=r"`pip install 'frostline\[yolo\]'`") as caught:
        build("ultralytics/yolo11n", weights="none")
    assert str(caught.value).startswith("network ultralytics/yolo11n: ultralytics cannot be imported")
    assert "\n" not in str(caught.value)


@installed
def test_a_network_is_built_from_its_description(capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    backbone = build("ultralytics/yolo11n", weights="none")
    assert capfd.readouterr() == ("", "")
    assert sum(parameter.numel() for parameter in backbone.model.parameters()) == 2_624_080
    assert (backbone.input.size_px, backbone.input.mean, backbone.input.std) == (640, (0, 0, 0), (1, 1, 1))
    assert not backbone.model.training
    read = outline(backbone.model, example_input=torch.zeros(1, 3, 64, 64))
    assert (read.stages[0].layers[0].name, read.stages[-1].layers[-1].name) == ("model.0", "model.23")


@installed
@pytest.mark.parametrize("name", ["yolo11n-cls", "yolov8n-seg", "yolo11n-pose"])
def test_other_tasks(name: str) -> None:
    backbone = build(f"ultralytics/{name}", weights="none")
    assert backbone.input.size_px == (224 if name.endswith("cls") else 640)


@installed
def test_an_unknown_name_is_an_error_with_the_nearest() -> None:
    with pytest.raises(NetworkError, match=r"no such network; the nearest are .*yolo11n"):
        build("ultralytics/yolo11q")


@installed
@pytest.mark.parametrize("form", ["its own", "tensors", "safetensors"])
def test_a_file_of_weights(form: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    other = build("ultralytics/yolo11n", weights="none").model
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "safetensors":
        save_file(other.state_dict(), path)
    else:
        torch.save({"model": other, "ema": None, "train_args": {}} if form == "its own" else other.state_dict(), path)
    loaded = build("ultralytics/yolo11n", weights=str(path)).model.state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in other.state_dict().items())


class Harm:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@installed
def test_a_file_that_runs_code_is_refused_and_not_run(tmp_path: Path) -> None:
    path, harmed = tmp_path / "w.pt", tmp_path / "harmed"
    torch.save({"model": Harm(harmed)}, path)
    with pytest.raises(WeightsError, match="could run code, so it was not read"):
        build("ultralytics/yolo11n", weights=str(path))
    assert not harmed.exists()


@installed
def test_weights_of_another_network_or_none_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"model.0.conv.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(WeightsError, match="of another architecture than DetectionModel"):
        build("ultralytics/yolo11n", weights=str(path))
    with pytest.raises(WeightsError, match="no such file"):
        build("ultralytics/yolo11n", weights=str(tmp_path / "absent.pt"))
