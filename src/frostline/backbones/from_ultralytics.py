"""A name in ultralytics → its network as its YAML file describes it, with the weights of its `.pt` file."""

import contextlib
import importlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from frostline.backbones.network import Backbone, InputSpec
from frostline.backbones.refusals import OFFLINE, first_line, unknown
from frostline.backbones.weights import load_weights, read_weights
from frostline.errors import NetworkError, WeightsError

YOLO_INPUT = InputSpec(size_px=640, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
CLASSIFIED_PX = 224


def from_ultralytics(name: str, *, weights: str) -> Backbone:
    """Build a network of ultralytics.

    Args:
        name: as its files are named, without a suffix: `yolo11n`, `yolo11n-seg`, `yolov8s-cls`.
        weights: `pretrained` (its `.pt`, fetched where it is not in the working folder), `none` (random ones), or a
            file: a `.pt` of ultralytics, or plain tensors.

    Raises:
        NetworkError: ultralytics is not installed, it has no such network, or weights that cannot be fetched.
        WeightsError: weights that cannot be read, or are of another architecture.
    """
    asked = f"network ultralytics/{name}"
    with _quiet():
        networks = _ultralytics(asked)
        described = _described()
        if name not in described:
            raise unknown(f"ultralytics/{name}", described, "write it as ultralytics names its files, such as yolo11n")
        try:
            model = _model(networks, name)
        except Exception as error:
            raise NetworkError(
                asked, found=f"it cannot be built ({first_line(error)})", do="name another network"
            ) from None
        if weights != "none":
            path = Path(f"{name}.pt" if weights == "pretrained" else weights)
            state = _state(networks, path, fetch=weights == "pretrained", asked=asked)
            load_weights(model, state, path=path)
    size_px = CLASSIFIED_PX if isinstance(model, networks.ClassificationModel) else YOLO_INPUT.size_px
    spec = InputSpec(size_px=size_px, mean=YOLO_INPUT.mean, std=YOLO_INPUT.std)
    return Backbone(name=name, model=model, input=spec)


def _ultralytics(asked: str) -> ModuleType:
    try:
        return importlib.import_module("ultralytics.nn.tasks")
    except ImportError as error:
        raise NetworkError(
            asked,
            found=f"ultralytics cannot be imported ({first_line(error)})",
            do="`pip install 'frostline[yolo]'` (ultralytics is licensed under AGPL-3.0)",
        ) from None


def _described() -> list[str]:
    """List the networks that ultralytics describes: each file in every size that it has."""
    utils = importlib.import_module("ultralytics.utils")
    names = []
    for file in sorted((utils.ROOT / "cfg" / "models").rglob("*.yaml")):
        head, dash, kind = file.stem.partition("-")
        scales = utils.YAML.load(file).get("scales") if head[-1:].isdigit() else None
        names += [f"{head}{scale}{dash}{kind}" for scale in scales] if isinstance(scales, dict) else [file.stem]
    return names


def _model(networks: ModuleType, name: str) -> nn.Module:
    """Build the network of the kind that its description ends in."""
    kinds = {
        "detect": networks.DetectionModel,
        "segment": networks.SegmentationModel,
        "classify": networks.ClassificationModel,
        "pose": networks.PoseModel,
        "obb": networks.OBBModel,
    }
    described = networks.yaml_model_load(f"{name}.yaml")
    task = networks.guess_model_task(described)
    if task not in kinds:
        raise ValueError(f"its task is {task}, and there is {', '.join(kinds)}")
    model: nn.Module = kinds[task](described, verbose=False)
    return model


def _state(networks: ModuleType, path: Path, *, fetch: bool, asked: str) -> dict[str, Any]:
    """Read the weights of a `.pt` of ultralytics, of which nothing but known layers is unpickled; or plain tensors."""
    if not fetch and path.suffix != ".pt":
        return read_weights(path)
    if not fetch and not path.is_file():
        raise WeightsError(f"weights {path}", found="no such file", do="name a .pt of ultralytics, or plain tensors")
    try:
        kept, _ = networks.torch_safe_load(str(path), safe_only=True)
        network = kept.get("ema") or kept["model"]
        return dict(network.float().state_dict())
    except Exception as error:
        if fetch and not path.is_file():
            raise NetworkError(
                asked, found=f"its pretrained weights could not be fetched ({first_line(error)})", do=OFFLINE
            ) from None
        if not fetch:
            # A plain state dict may well be called .pt; what holds more is told as such.
            return read_weights(path)
        raise WeightsError(f"weights {path}", found=first_line(error), do="download it again") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what ultralytics prints and logs from the user."""
    logger = logging.getLogger("ultralytics")
    before = logger.disabled
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        logger.disabled = True
        try:
            yield
        finally:
            logger.disabled = before
