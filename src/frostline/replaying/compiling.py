"""Compiled networks: what replay watches runs as it is written; what trains may be compiled."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn


def uncompiled() -> AbstractContextManager[Any]:
    """Run compiled parts as they are written, so that what happens in them can be followed."""
    # Asking torch would load its compiler, which takes seconds.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def is_compiled(module: nn.Module) -> bool:
    """Whether a module runs compiled, in place or wrapped."""
    return module._compiled_call_impl is not None or type(module).__name__ == "OptimizedModule"


def as_written(act: Callable[..., Any]) -> Callable[..., Any]:
    """Let a compiler that comes by run a function as it is written; what is compiled on its own inside stays so."""

    def call(*args: Any) -> Any:
        if torch.compiler.is_compiling():
            return torch.compiler.disable(act)(*args)  # type: ignore[no-untyped-call]
        return act(*args)

    return call
