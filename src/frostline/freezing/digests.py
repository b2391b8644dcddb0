"""Digests of tensors: equal digests mean equal bits, of values, shape and type."""

import ctypes
import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn


def digest(tensor: Tensor) -> str:
    """Give the SHA-256 of a tensor's type, shape and bytes; a sharded tensor is gathered first."""
    plain = whole(tensor).detach().to("cpu").resolve_conj().resolve_neg().contiguous()
    sha = hashlib.sha256(f"{plain.dtype} {tuple(plain.shape)} ".encode())
    if plain.numel():
        # Read where they lie: torch alone comes without numpy, and a copy would cost a large network twice.
        sha.update((ctypes.c_char * plain.nbytes).from_address(plain.data_ptr()))
    return sha.hexdigest()


def whole(tensor: Tensor) -> Tensor:
    """Give a tensor as a whole; one that is sharded is gathered by all processes together."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def digests(model: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Digest the named parameters and buffers of a network.

    Args:
        model: the network.
        names: dotted names of parameters and buffers.

    Returns:
        Name → digest; a name that is no longer there → an empty text.
    """
    tensors = named_tensors(model)
    wanted = list(names)
    found = [tensors[name] for name in wanted if name in tensors]
    if all(one.device.type == "cpu" and not hasattr(one, "full_tensor") for one in found):
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            texts = iter(list(pool.map(digest, found)))
    else:  # a device has one at a time, and what is gathered from several processes comes in one order
        texts = iter([digest(one) for one in found])
    return {name: next(texts) if name in tensors else "" for name in wanted}


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Name every parameter and buffer, under each of its names."""
    parameters = model.named_parameters(remove_duplicate=False)
    buffers = model.named_buffers(remove_duplicate=False)
    return {**dict(parameters), **dict(buffers)}


def combined(parts: Mapping[str, str]) -> str:
    """Give one digest for many: of the sorted names and digests."""
    sha = hashlib.sha256()
    for name in sorted(parts):
        sha.update(f"{name} {parts[name]}\n".encode())
    return sha.hexdigest()
