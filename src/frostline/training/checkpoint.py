"""Checkpoints: safetensors files, written at once or not at all."""

import time
from collections.abc import Collection, Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor, nn

from frostline.backbones import load_weights, read_weights
from frostline.errors import RunError
from frostline.record import CHECKPOINTS, write_atomically

BEST = "best.safetensors"
LAST = "last.safetensors"


# An epoch whose frozen part is looked up takes less time than to write a network.
LEAST_SECONDS = 10.0


class Keeper:
    """Keeps the best and the last state of a run, and writes them now and then: a kill loses some seconds of work.

    What is kept in between are copies of what moved, so that an epoch that fails later spoils nothing.

    Args:
        model: the network.
        folder: of the checkpoints.
        least_seconds: between two writings of one file.
    """

    def __init__(self, model: nn.Module, folder: Path, *, least_seconds: float = LEAST_SECONDS) -> None:
        self._model = model
        self._folder = folder
        self._least_seconds = least_seconds
        self._waiting: dict[str, dict[str, Tensor]] = {}
        self._written: dict[str, float] = {}

    def keep(self, name: str, *, moving: Collection[str]) -> None:
        """Keep the state of this moment.

        Args:
            name: of the file.
            moving: parameters and buffers that the phase may change; all others stay as they are until `flush`.
        """
        self._waiting[name] = {
            key: tensor.detach().clone() for key, tensor in self._model.state_dict().items() if key in moving
        }
        if time.monotonic() - self._written.get(name, -self._least_seconds) >= self._least_seconds:
            self._write(name)

    def close(self) -> None:
        """Write what is kept; also when a run fails."""
        self.flush()

    def flush(self) -> None:
        """Write what is kept and not written yet."""
        for name in list(self._waiting):
            self._write(name)

    def read(self, name: str) -> bytes:
        """Write what is kept, and give the content of a file."""
        self.flush()
        return (self._folder / name).read_bytes()

    def restore(self, name: str) -> None:
        """Write what is kept, and load a file into the network."""
        self.flush()
        load_checkpoint(self._model, self._folder / name)

    def _write(self, name: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        state = {**self._model.state_dict(), **self._waiting.pop(name)}
        write_atomically(self._folder / name, _bytes(state))
        self._written[name] = time.monotonic()


def checkpoint_bytes(model: nn.Module) -> bytes:
    """Give the content of a checkpoint file: every parameter and buffer, keyed by name.

    A tied tensor is written under each of its names, so the file loads strictly anywhere.
    """
    return _bytes(model.state_dict())


def _bytes(every: Mapping[str, Tensor]) -> bytes:
    seen: set[int] = set()
    state: dict[str, Tensor] = {}
    for name, tensor in every.items():
        plain = tensor.detach().cpu().contiguous()
        storage = plain.untyped_storage().data_ptr()
        # safetensors refuses two names for one storage, also where they are different parts of it.
        state[name] = plain.clone() if storage in seen else plain
        seen.add(storage)
    return save(state)


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
