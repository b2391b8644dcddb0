"""`frostline export`: a finished run → files for other programs, each checked before any of them is in its place."""

import os
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from torch import nn

from frostline.backbones import InputSpec, Kind, TextSpec, elsewhere, load_huggingface, save_huggingface
from frostline.deployment.adapters import ADAPTERS, write_adapters
from frostline.deployment.exported import Exported, agree, load_strictly
from frostline.deployment.onnx import onnx_model
from frostline.errors import FrostlineError, RunError, RunFailure, UserError
from frostline.lora import merged
from frostline.recipe.assembly import rebuilt
from frostline.recipe.trained import Trained, load_run
from frostline.record import CARD_FILE, TOKENIZER, write_json
from frostline.training import checkpoint_bytes

Format = Literal["onnx", "weights", "adapters", "all"]

EXPORT = "export"
ONNX = "model.onnx"
WEIGHTS = "model.safetensors"
HUGGINGFACE = "huggingface"
# What transformers calls what each task learns, and what prepares its samples.
_CALLED: dict[Kind, tuple[str, str]] = {
    "images": ("ImageClassification", "ImageProcessor"),
    "text": ("SequenceClassification", "Tokenizer"),
    "masked_text": ("MaskedLM", "Tokenizer"),
}


@dataclass(frozen=True, kw_only=True)
class Export:
    """What an export wrote, and what a person should be told about it."""

    folder: Path
    files: tuple[Exported, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data, paths as text."""
        files = [{**asdict(file), "path": str(file.path)} for file in self.files]
        return {"folder": str(self.folder), "files": files, "notes": list(self.notes)}


def export_run(run: Path, *, to: Path | None = None, form: Format = "all", opset: int | None = None) -> Export:
    """Write a run's network for other programs: as ONNX, as weights that its own library loads, and adapters alone.

    ONNX and weights have adapters merged into them. The data of the run is not needed. Everything is written beside its
    place, or within it where it is there, and compared with the run's network on random inputs; then it takes the place
    of what was there.

    Args:
        run: the run's folder.
        to: where to write; `export` in the run's folder by default.
        form: `onnx`, `weights`, `adapters`, or `all`, which leaves out what cannot be written where something else
            can, and says so.
        opset: version of ONNX's operators; None: what torch's exporter writes by default.

    Returns:
        What was written.

    Raises:
        RunError: no finished run there, a folder that cannot be written, a missing package, weights that no library
            could load, or adapters where there are none.
        NetworkError: the network that the run's recipe names is gone.
        RunFailure: the network cannot be exported, or what was written computes something else, and nothing is left.
    """
    finished = load_run(run)
    folder = to or run / EXPORT
    asked = f"export {folder}"
    refusal = _refusal(finished)
    if form == "weights" and refusal is not None:
        raise refusal
    if form == "adapters" and finished.recipe.lora is None:
        raise RunError("export adapters", found="the run has none", do="write weights (`--format weights`)")
    if folder.exists() and not folder.is_dir():
        raise RunError(asked, found="it is a file", do="choose another folder with --to")
    try:
        with tempfile.TemporaryDirectory(dir=_ground(folder), prefix=f".{folder.name}.") as place:
            stage = Path(place)
            files: list[Exported] = []
            notes: list[str] = []
            plain = finished.model if form == "adapters" else merged(finished.model)
            if form in ("weights", "all") and refusal is None:
                written, told = _write_weights(finished, plain, stage)
                files.append(written)
                notes += told
            elif form == "all" and refusal is not None:
                notes.append(f"weights were left out: {refusal.found}")
            if form in ("adapters", "all") and finished.recipe.lora is not None:
                try:
                    files.append(write_adapters(finished, stage / ADAPTERS))
                except (UserError, RunFailure) as error:
                    if form == "adapters":
                        raise
                    notes.append(f"adapters were left out: {error.found}")
            if form in ("onnx", "all"):
                try:
                    files.insert(0, _write_onnx(finished, plain, stage, opset=opset))
                except RunFailure as failure:
                    if not files:
                        raise
                    notes.append(f"ONNX was left out: {failure.found}")
            if isinstance(finished.spec, TextSpec):
                finished.spec.tokenizer.save_pretrained(stage / TOKENIZER)
            write_json(stage / CARD_FILE, {**_about(finished), "files": [file.path.name for file in files]})
            _move(stage, folder)
            notes += _earlier(folder, files)
    except FrostlineError:
        raise
    except Exception as error:
        reason = _no_room(error)
        if reason is None:
            raise
        raise RunError(
            asked, found=f"it cannot be written ({reason})", do="make room, or choose another --to"
        ) from None
    notes += finished.cautions
    return Export(folder=folder, files=tuple(_at(file, folder) for file in files), notes=tuple(notes))


def _refusal(finished: Trained) -> RunError | None:
    """Say why a network's weights load in no library: theirs has one layer where ours has a head of several."""
    head, name = finished.recipe.head, finished.recipe.model.name
    if head == "linear" or ".py:" in name or name.partition("/")[0] not in ("timm", "torchvision", "hf"):
        return None
    return RunError(
        "export weights",
        found=f"the run has `head: {head}`, several layers where {name} has one, so its weights do not load there",
        do="write ONNX (`--format onnx`), which has the head in it",
    )


def _write_onnx(finished: Trained, plain: nn.Module, stage: Path, *, opset: int | None) -> Exported:
    if plain is not finished.model:
        agree(finished, plain, Path(ONNX))
    content, apart = onnx_model(plain, finished.spec, about=_about(finished), opset=opset)
    (stage / ONNX).write_bytes(content)
    given = '{"images": images}' if isinstance(finished.spec, InputSpec) else "dict(tokenizer(texts, …))"
    code = (
        f'session = onnxruntime.InferenceSession("{stage / ONNX}")',
        f'scores = session.run(["scores"], {given})[0]',
    )
    return Exported(path=stage / ONNX, apart=apart, code=code)


def _write_weights(finished: Trained, plain: nn.Module, stage: Path) -> tuple[Exported, tuple[str, ...]]:
    """Write weights, load them strictly where they belong, and compare."""
    name, classes = finished.recipe.model.name, finished.classes
    notes: tuple[str, ...] = ()
    code: tuple[str, ...]
    if name.startswith("hf/"):
        path = stage / HUGGINGFACE
        notes = save_huggingface(plain, path, classes=classes, spec=finished.spec)
        is_text = isinstance(finished.spec, TextSpec)
        learned, prepares = _CALLED[finished.recipe.task]
        code = (
            f'model = transformers.AutoModelFor{learned}.from_pretrained("{path}")',
            f'{"tokenizer" if is_text else "processor"} = transformers.Auto{prepares}.from_pretrained("{path}")',
        )
        return Exported(
            path=path,
            apart=agree(finished, load_huggingface(path, kind=finished.recipe.task), path),
            code=code[: 2 - len(notes)],
        ), notes
    path = stage / WEIGHTS
    path.write_bytes(checkpoint_bytes(plain))
    there = elsewhere(name, num_classes=len(classes), like=plain)
    network = there.model if there is not None else merged(rebuilt(finished.recipe, num_classes=len(classes))[0])
    load = f'model.load_state_dict(safetensors.torch.load_file("{path}"))'
    code = (f"model = {there.code}", load) if there is not None else (load,)
    load_strictly(network, path, name)
    if there is None:
        notes = (f"{WEIGHTS} is for {name} with its new head of {len(classes)} classes",)
    return Exported(path=path, apart=agree(finished, network, path), code=code), notes


def _about(finished: Trained) -> dict[str, Any]:
    """Say what a network takes and gives, for whoever has nothing but the export."""
    spec = finished.spec
    if isinstance(spec, TextSpec):
        takes: dict[str, Any] = {"inputs": list(spec.names), "max_length": spec.max_length, "tokenizer": TOKENIZER}
    else:
        takes = {
            "size_px": spec.size_px,
            "resize": "stretched to a square, bilinear with antialiasing, no crop",
            "channels": spec.channels,
            "mean": list(spec.mean),
            "std": list(spec.std),
            "values": "0 to 1, minus mean, divided by std",
        }
    return {
        "network": finished.recipe.model.name,
        "classes": list(finished.classes),
        **takes,
        "frostline": version("frostline"),
    }


def _ground(folder: Path) -> Path:
    """Find the nearest folder that exists, the place itself at best: one on the same disk, where it may be written."""
    place = folder.absolute()
    return next(one for one in (place, *place.parents) if one.is_dir())


def _move(stage: Path, folder: Path) -> None:
    """Put everything that was written into its place, once it is on the disk."""
    mode = (stage / CARD_FILE).stat().st_mode  # safetensors makes files that their owner alone may read
    for path in stage.rglob("*"):
        if path.is_file():
            path.chmod(mode)
            with path.open("rb") as file:
                os.fsync(file.fileno())
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(stage.iterdir()):
        target = folder / path.name
        if target.is_dir():
            # A folder does not replace one that holds something; the old one goes away with the stage.
            target.rename(stage / f".{path.name}.old")
        path.replace(target)


def _earlier(folder: Path, files: list[Exported]) -> list[str]:
    """Name what a folder holds besides this export, so that nobody takes it for a part of it."""
    written = {file.path.name for file in files}
    return [
        f"{name} there is of an earlier export"
        for name in (ONNX, WEIGHTS, HUGGINGFACE, ADAPTERS)
        if name not in written and (folder / name).exists()
    ]


def _at(file: Exported, folder: Path) -> Exported:
    """Tell where a file is now."""
    path = folder / file.path.name
    return Exported(
        path=path, apart=file.apart, code=tuple(line.replace(str(file.path), str(path)) for line in file.code)
    )


def _no_room(error: Exception) -> str | None:
    """Say why a disk did not take a file; safetensors has an error of its own for that."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)[:160] if type(error).__name__ == "SafetensorError" else None
