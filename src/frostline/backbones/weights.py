"""Read weights from a file and load them strictly; nothing in the file is ever run."""

import pickle
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frostline.errors import WeightsError

# Checkpoints of other tools keep the state dict under one of these, and wrappers put one of these before each name.
NESTED_UNDER = ("state_dict", "model_state_dict", "model", "net", "weights", "params")
WRAPPED_AS = ("module.", "model.", "_orig_mod.", "backbone.", "net.")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a safetensors file, or from a pickle that holds tensors and nothing else.

    Args:
        path: `.safetensors`, or any name that torch.save used.

    Raises:
        WeightsError: no such file, damaged, not weights at all, or a pickle that would run code (it is not run).
    """
    asked = f"weights {path}"
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise WeightsError(asked, found=found, do="name a .safetensors file or a state dict saved by torch")
    if path.suffix == ".safetensors":
        return _read_safetensors(path, asked)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if _is_foreign(path):
            raise WeightsError(
                asked, found="not a file of weights", do="check the file, or download it again"
            ) from None
        reason = _first_line(error)
        raise WeightsError(
            asked,
            found=f"a pickle with more than tensors in it, which could run code, so it was not read ({reason})",
            do="save its state dict with safetensors, or with torch.save(model.state_dict(), …)",
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise WeightsError(
            asked, found=f"damaged ({_first_line(error)})", do="check the file, or download it again"
        ) from None
    return _state_dict(content, asked)


def load_weights(
    model: nn.Module, state: Mapping[str, Tensor], *, path: Path, free: Collection[str] = ()
) -> tuple[str, ...]:
    """Load a state dict into a network; every tensor must be there and fit, but for those that may be new.

    Args:
        model: changed in place.
        state: name → tensor; half-precision tensors are cast to the network's type.
        path: where the state came from, for the error.
        free: names that may be missing or of another shape (a classifier that is replaced anyway).

    Returns:
        The free names that were not loaded.

    Raises:
        WeightsError: the weights are of another architecture; the first names that differ are told.
    """
    own = model.state_dict()
    named = _unwrapped(state, own)
    # A counter that older checkpoints lack; BatchNorm uses it only without a momentum.
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    missing = [name for name in own if name not in named and name not in counters and name not in free]
    strange = [name for name in named if name not in own and name not in free]
    misshapen = [
        f"{name} is {tuple(named[name].shape)}, wanted {tuple(own[name].shape)}"
        for name in own
        if name in named and named[name].shape != own[name].shape and name not in free
    ]
    if missing or strange or misshapen:
        parts = [
            f"{len(missing)} tensors are missing (such as {missing[0]})" if missing else "",
            f"{len(strange)} are not in the network (such as {strange[0]})" if strange else "",
            f"{len(misshapen)} have another shape ({misshapen[0]})" if misshapen else "",
        ]
        raise WeightsError(
            f"weights {path}",
            found=f"they are of another architecture than {type(model).__name__}: " + ", ".join(filter(None, parts)),
            do="name the network that these weights were trained in",
        )
    fitting = {name: tensor for name, tensor in named.items() if name in own and tensor.shape == own[name].shape}
    try:
        model.load_state_dict(fitting, strict=False)
    except RuntimeError as error:
        raise WeightsError(f"weights {path}", found=_first_line(error), do="check the file") from None
    return tuple(name for name in free if name in own and name not in fitting)


def _read_safetensors(path: Path, asked: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, ValueError, OSError) as error:
        raise WeightsError(
            asked,
            found=f"no readable safetensors file ({_first_line(error)})",
            do="check the file, or download it again",
        ) from None


def _is_foreign(path: Path) -> bool:
    """Whether a file is neither a zip archive nor a pickle, the two things that torch.save writes."""
    with path.open("rb") as file:
        start = file.read(4)
    return start[:2] != b"PK" and start[:1] != b"\x80"


def _state_dict(content: Any, asked: str) -> dict[str, Tensor]:
    for key in NESTED_UNDER:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise WeightsError(asked, found="no tensors in it", do="save the network's state dict")
    return tensors


def _unwrapped(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take a wrapper's prefix off where all names carry it and none of them is the network's own."""
    named = dict(state)
    for prefix in WRAPPED_AS:
        if named and not named.keys() & own.keys() and all(name.startswith(prefix) for name in named):
            named = {name.removeprefix(prefix): tensor for name, tensor in named.items()}
    return named


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:160]}" if text else type(error).__name__
