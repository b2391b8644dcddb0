"""Read weights from a file and load them strictly; nothing in the file is ever run."""

import pickle
import re
import warnings
from collections import OrderedDict
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
        raise WeightsError(
            asked, found=found, do="name a .safetensors file or a state dict saved by torch, or write pretrained"
        )
    if not path.stat().st_size:
        raise WeightsError(asked, found="an empty file", do="download it again")
    if path.suffix == ".safetensors":
        return _read_safetensors(path, asked)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols, about which the user can do nothing
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if _is_foreign(path):
            raise WeightsError(
                asked,
                found="not a file of weights (neither .safetensors nor what torch.save writes)",
                do="check the file, or download it again",
            ) from None
        more = f"a pickle with more than tensors in it ({_refused(error)}), which could run code, so it was not read"
        raise WeightsError(
            asked,
            found=more,
            do="save its state dict with safetensors, or with torch.save(model.state_dict(), …)",
        ) from None
    except Exception as error:  # a damaged file can make its reader raise anything
        if "TorchScript" in str(error):
            raise WeightsError(
                asked, found="a TorchScript program, which is not read", do="save the network's state dict"
            ) from None
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
        free: names that may be missing, of another shape, or another module's (a classifier that is replaced anyway).

    Returns:
        The free names that were not loaded.

    Raises:
        WeightsError: the weights are of another architecture; the first names that differ are told.
    """
    own = model.state_dict()
    named = unwrapped(state, own)
    # A counter that older checkpoints lack; BatchNorm uses it only without a momentum.
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    adapted = [found for name in named if name not in own and (found := re.match(r"(.+)\.(?:lora_|ia3_)", name))]
    if adapted:
        raise WeightsError(
            f"weights {path}",
            found=f"they have adapters in them (such as around {adapted[0].group(1)})",
            do="name merged ones: `frostline export RUN --format weights` writes them",
        )
    missing = [name for name in own if name not in named and name not in counters and name not in free]
    layers = tuple(f"{name.rpartition('.')[0]}." for name in free)  # where another tool's head may have several layers
    strange = [name for name in named if name not in own and name not in free and not name.startswith(layers)]
    unfit = [name for name in own if name in named and name not in free and not _fits(named[name], own[name])]
    if missing or strange or unfit:
        parts = [
            f"{_tensors(len(missing))} missing (such as {missing[0]})" if missing else "",
            f"{_tensors(len(strange))} not in the network (such as {strange[0]})" if strange else "",
            f"{_tensors(len(unfit))} of another kind ({unfit[0]} is {_kind(named[unfit[0]])}, "
            f"wanted {_kind(own[unfit[0]])})"
            if unfit
            else "",
        ]
        raise WeightsError(
            f"weights {path}",
            found=f"they are of another architecture than {type(model).__name__}: " + ", ".join(filter(None, parts)),
            do="name the network that these weights were trained in",
        )
    fitting = OrderedDict((name, tensor) for name, tensor in named.items() if name in own and _fits(tensor, own[name]))
    # Files have no versions of modules, and some networks ask for theirs (torchvision's MNASNet).
    fitting._metadata = getattr(own, "_metadata", {})  # type: ignore[attr-defined]
    try:
        model.load_state_dict(fitting, strict=False)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise WeightsError(f"weights {path}", found=reason, do="check the file") from None
    return tuple(name for name in free if name in own and name not in fitting)


def head_of(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Give the tensors of a state dict that lie below a name."""
    return {key: tensor for key, tensor in state.items() if key.startswith(f"{name}.")}


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
    named = content.items() if isinstance(content, Mapping) else ()
    tensors = {key: value for key, value in named if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(asked, found="no tensors in it", do="save the network's state dict")
    return tensors


def unwrapped(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the prefixes of wrappers off, as long as all names carry one and none of them is the network's own."""
    named = dict(state)
    while named and not named.keys() & own.keys():
        prefix = next((wrapper for wrapper in WRAPPED_AS if all(name.startswith(wrapper) for name in named)), None)
        if prefix is None:
            break
        named = {name.removeprefix(prefix): tensor for name, tensor in named.items()}
    return named


def _fits(given: Tensor, own: Tensor) -> bool:
    """Whether a tensor has the shape, and real numbers where the network has them (int8 weights need their scales)."""
    return given.shape == own.shape and (given.is_floating_point() or not own.is_floating_point())


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _tensors(count: int) -> str:
    return "1 tensor is" if count == 1 else f"{count} tensors are"


def _refused(error: pickle.UnpicklingError) -> str:
    """Name what torch refused to load; the rest of its message tells how to load it all the same."""
    found = re.search(r"Unsupported global: GLOBAL (\S+)|(Unsupported \w+ \d+)", str(error))
    return found.group(1) or found.group(2) if found else "torch refused it"


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:160]}" if text else type(error).__name__
