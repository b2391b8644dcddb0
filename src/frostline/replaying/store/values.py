"""Values as text: what else a sample holds (labels, names, boxes), to JSON and back, without loss."""

import base64
import ctypes
import importlib
import json
import sys
from typing import Any

import torch
from torch import Tensor

from frostline.replaying.refusal import Refusal

KINDS = "None, bool, int, float, str, tensors, arrays and scalars of numpy, and tuples, lists and dicts of them"
# Kinds of numpy whose bytes say all: truth values, numbers, texts, times.
_NUMPY_KINDS = "biufcSUmM"


def to_text(value: Any, *, name: str) -> str:
    """Write a value as one line of JSON.

    Args:
        value: None, bool, int, float, str, tensors of any shape, arrays and scalars of numpy, and tuples, lists and
            dicts of them.
        name: of the sample, for the refusal.

    Raises:
        Refusal: a value of another type, somewhere in there.
    """
    try:
        return json.dumps(_encode(value, name), separators=(",", ":"))
    except RecursionError:
        raise Refusal(f"{name} is nested too deeply to be stored") from None


def from_text(text: str | bytes) -> Any:
    """Read a value that `to_text` wrote."""
    return _decode(json.loads(text))


def _encode(value: Any, where: str) -> Any:
    # Exact types: what a subclass adds (a unit of numpy's, an enum's name) would be lost.
    kind = type(value)
    if value is None or kind in (bool, float, str):
        return value
    if kind is int:
        if value.bit_length() > 4096:  # Python writes no number with more than 4300 digits
            raise Refusal(f"{where} is an int of {value.bit_length():,} bits, and can be stored up to 4096")
        return value
    if kind is list:
        return [_encode(part, f"{where}[{place}]") for place, part in enumerate(value)]
    if kind is tuple:
        return {"tuple": [_encode(part, f"{where}[{place}]") for place, part in enumerate(value)]}
    if kind is dict:
        return {
            "dict": [
                [_encode(key, f"{where}, a key,"), _encode(part, f"{where}[{key!r}]")] for key, part in value.items()
            ]
        }
    if kind is Tensor:
        return {"tensor": _encode_tensor(value, where)}
    if _is_numpy(value):
        text = base64.b64encode(value.tobytes()).decode()
        return {"numpy": [value.dtype.str, list(value.shape), kind.__name__ == "ndarray", text]}
    raise Refusal(f"{where} is of type {kind.__module__}.{kind.__qualname__}; what can be stored is {KINDS}")


def _is_numpy(value: Any) -> bool:
    """Whether it is an array or a scalar of numpy, and of no subclass, whose bytes say all."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not (type(value) is numpy.ndarray or isinstance(value, numpy.generic)):
        return False
    if value.dtype.kind not in _NUMPY_KINDS:
        return False
    # Two types of numpy's may have the same bytes, and only one of them comes back.
    return type(value) is numpy.ndarray or numpy.dtype(value.dtype.str).type is type(value)


def _encode_tensor(tensor: Tensor, where: str) -> list[Any]:
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized or tensor.requires_grad:
        found = "one with a gradient" if tensor.requires_grad else f"{tensor.layout} on {tensor.device}"
        raise Refusal(f"{where} is a tensor, {found}; what can be stored is a dense one on the CPU without gradient")
    plain = tensor.resolve_conj().resolve_neg().contiguous()
    content = bytes((ctypes.c_char * plain.nbytes).from_address(plain.data_ptr())) if plain.nbytes else b""
    return [str(plain.dtype).removeprefix("torch."), list(plain.shape), base64.b64encode(content).decode()]


def _decode(value: Any) -> Any:
    if type(value) is list:
        return [_decode(part) for part in value]
    if type(value) is not dict:
        return value
    ((kind, content),) = value.items()
    if kind == "tuple":
        return tuple(_decode(part) for part in content)
    if kind == "dict":
        return {_decode(key): _decode(part) for key, part in content}
    if kind == "numpy":
        return _decode_numpy(*content)
    name, shape, text = content
    dtype = getattr(torch, name)
    content = bytearray(base64.b64decode(text))
    if not content:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype).reshape(shape)


def _decode_numpy(dtype: str, shape: list[int], is_array: bool, text: str) -> Any:
    # Whoever recorded it had it; nothing else here needs it.
    numpy = importlib.import_module("numpy")
    content = bytearray(base64.b64decode(text))
    array = numpy.ndarray(shape, dtype, content) if content else numpy.zeros(shape, dtype)
    return array if is_array else array[()]
