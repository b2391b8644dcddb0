"""Keys: one digest of everything that stored values depend on; whatever changes, it is another key."""

import hashlib
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from frostline.freezing import PlanHandle, combined, digests
from frostline.replaying.fingerprint import OpenedFiles, fingerprint
from frostline.replaying.keeping import attributes
from frostline.replaying.probe.frontier import Frontier
from frostline.replaying.probe.setting import Setting
from frostline.replaying.samples.reading import innermost
from frostline.replaying.slots import Slot
from frostline.selection import parents_of

# Of the meaning of what is stored; another number makes every old store a stranger.
FORMAT = 3
_PLAIN = (bool, int, float, complex, str, torch.dtype, type(None))


@dataclass(frozen=True)
class Key:
    """A digest, and what it does not cover: where that is something, no other process may trust it."""

    digest: str
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Survey:
    """Where frozen computation ends under one plan, and what the stored tensors depend on.

    Attributes:
        frontier: where.
        keys: of each stored slot.
        sample_seconds: that the frozen prefix takes for a sample, a few at a time.
    """

    frontier: Frontier
    keys: Mapping[Slot, Key]
    sample_seconds: float

    def tensors(self, model: nn.Module) -> frozenset[str]:
        """Name the parameters and buffers of a network that the stored tensors depend on."""
        return frozenset(tensors_under(model, {name for names in self.frontier.depends.values() for name in names}))


def slot_key(slot: Slot, *, frontier: Frontier, handle: PlanHandle, setting: Setting) -> Key:
    """Give the key of what a network makes one live tensor of, whatever the samples are.

    It covers the tensors, code and settings of all modules that the slot is computed from, the code of the modules
    around them, the type computed in, the kind of device, and the version of torch.

    Args:
        slot: which.
        frontier: knows what it is computed from.
        handle: the plan in force.
        setting: what is computed in, and where.
    """
    names = frontier.depends[slot]
    modules = dict(handle.model.named_modules())
    tensors = tensors_under(handle.model, names)
    known = {name: handle.before[name] for name in tensors if name in handle.before}
    values = {**known, **digests(handle.model, [name for name in tensors if name not in known])}
    around = {parent for name in names for parent in parents_of(name)} | {"", *parents_of(slot.module)}
    inside = {inner for name in names if name in modules for inner, _ in modules[name].named_modules(prefix=name)}
    code = fingerprint(
        {name: _settings(modules[name], private=name in inside) for name in sorted(around | inside) if name in modules},
        name="network",
    )
    parts = [
        f"frostline replay {FORMAT}",
        f"{slot!r} {frontier.live[slot]}",
        combined(values),
        code.digest,
        str(setting),
        *frontier.steps_seen.words,
        *(f"{name} {_format(tensor)}" for name, tensor in sorted(tensors.items())),
        torch.__version__,
        torch.cuda.get_device_name() if setting.device == "cuda" else platform.machine(),
    ]
    return Key(_digest(parts), code.unknown)


def column_key(slot: Key, data: Key, *, dtype: torch.dtype) -> Key:
    """Give the key of a column: what is made of which samples, and in which type it is kept."""
    return Key(_digest([slot.digest, data.digest, str(dtype)]), (*slot.unknown, *data.unknown))


def item_key(data: Key) -> str:
    """Give the digest under which the labels of a data set are kept."""
    return _digest([f"items {FORMAT}", data.digest])


def data_key(dataset: Any, *, collate: Any, forward: Any, leaves: Iterable[int], named: str | None) -> Key:
    """Give the key of the samples of a data set, as they come to the network.

    Args:
        dataset: gives the samples.
        collate: puts them together.
        forward: calls the network.
        leaves: which tensors of a sample are stood in for.
        named: what the user says identifies the data set, in place of all that it holds.
    """
    how = fingerprint([collate, forward, sorted(leaves)], name="collate")
    if named is not None:
        what = fingerprint([named, len(dataset)], name="dataset")
    else:
        what = fingerprint(dataset, name="dataset", opened=OpenedFiles(innermost(dataset)))
    return Key(_digest([how.digest, what.digest]), (*how.unknown, *what.unknown))


def tensors_under(model: nn.Module, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Give the tensors that names stand for: themselves, or all of a module's."""
    every = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    wanted = set(names) - {""}
    return {name: tensor for name, tensor in every.items() if not wanted.isdisjoint([name, *parents_of(name)])}


def _settings(module: nn.Module, *, private: bool) -> Mapping[str, Any]:
    """Give what a module is beside its tensors and its parts: its class and its plain attributes.

    Args:
        module: which.
        private: numbers and texts under private names too. What it keeps for itself in a private list or tensor is
            made anew, and modules around the held ones count there, and go on counting while they train.
    """
    own = {
        name: value
        for name, value in attributes(module, private=private).items()
        if name != "training" and (not name.startswith("_") or isinstance(value, _PLAIN))
    }
    return {"class": type(module), **own}


def _format(tensor: torch.Tensor) -> str:
    """Say how a tensor lies in memory where that decides how is computed: channels last gives other rounding."""
    last = tensor.ndim == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)
    return "channels last" if last else ""


def _digest(parts: Iterable[str]) -> str:
    sha = hashlib.sha256()
    for part in parts:
        sha.update(f"{len(part)} {part}\n".encode())
    return sha.hexdigest()
