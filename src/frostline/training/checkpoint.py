"""Checkpoints: safetensors files, written at once or not at all."""

from pathlib import Path

from safetensors.torch import save
from torch import Tensor, nn

from frostline.backbones import load_weights, read_weights
from frostline.errors import RunError
from frostline.record import CHECKPOINTS, write_atomically

BEST = "best.safetensors"
LAST = "last.safetensors"


def checkpoint_bytes(model: nn.Module) -> bytes:
    """Give the content of a checkpoint file: every parameter and buffer, keyed by name.

    A tied tensor is written under each of its names, so the file loads strictly anywhere.
    """
    seen: set[int] = set()
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        plain = tensor.detach().cpu().contiguous()
        storage = plain.untyped_storage().data_ptr()
        # safetensors refuses two names for one storage, also where they are different parts of it.
        state[name] = plain.clone() if storage in seen else plain
        seen.add(storage)
    return save(state)


def save_checkpoint(model: nn.Module, path: Path) -> None:
    """Write a checkpoint; a kill while writing leaves the one that was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, checkpoint_bytes(model))


def checkpoint_of(run: Path) -> Path:
    """Name the checkpoint of a run that counts: the best, or the last where there was no validation.

    Raises:
        RunError: the folder has none.
    """
    checkpoint = next((path for name in (BEST, LAST) if (path := run / CHECKPOINTS / name).is_file()), None)
    if checkpoint is None:
        raise RunError(f"run {run}", found="no checkpoint there", do="run the training again")
    return checkpoint


def load_checkpoint(model: nn.Module, path: Path) -> None:
    """Load a checkpoint into the network it was written for, strictly.

    Raises:
        WeightsError: the file is missing, damaged or of another network.
    """
    load_weights(model, read_weights(path), path=path)
