"""Devices, precision and processes: the only file that knows Accelerate."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.utils.data import DataLoader

from frostline.errors import UserError
from frostline.training.allocator import keep_freed_memory

Precision = Literal["fp32", "bf16", "fp16"]
Device = Literal["auto", "cpu", "cuda"]


class Runtime:
    """Where a run computes, and in which precision.

    Raises:
        UserError: a GPU was asked for and there is none, or a precision that this device does not have.
    """

    def __init__(self, *, precision: Precision = "fp32", device: Device = "auto", seed: int = 0) -> None:
        has_gpu = torch.cuda.is_available()
        if device == "cuda" and not has_gpu:
            raise UserError(
                "device: cuda", found="no GPU that torch can use", do="write `device: cpu` or `device: auto`"
            )
        if precision == "fp16" and (device == "cpu" or not has_gpu):
            raise UserError("precision: fp16", found="no GPU", do="write `precision: bf16`, or `fp32`, which is exact")
        keep_freed_memory()
        # Accelerate keeps its state for the whole process, and a second run may want another precision or device.
        AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
        GradientState._reset_state()
        self._accelerator = Accelerator(mixed_precision="no" if precision == "fp32" else precision, cpu=device == "cpu")
        set_seed(seed)

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return torch.device(self._accelerator.device)

    @property
    def autocast(self) -> torch.dtype | None:
        """The type that networks compute in where that is not their own."""
        return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self._accelerator.mixed_precision)

    def place(self, model: nn.Module) -> nn.Module:
        """Put a network on the device, its convolutions in the order of memory that they are fastest in.

        Channels last (N × H × W × C) is worth a fifth of the time of convolutions on a CPU, and more on a GPU; sums are
        rounded in another order, so every network of a run is placed alike.
        """
        model.to(self.device)
        if any(isinstance(module, nn.Conv2d) for module in model.modules()):
            model.to(memory_format=torch.channels_last)
        return model

    def loader(self, loader: DataLoader[Any]) -> DataLoader[Any]:
        """Give this process its part of a loader, batches on its device."""
        prepared: DataLoader[Any] = self._accelerator.prepare_data_loader(loader)
        return prepared

    @contextmanager
    def wrapped(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[nn.Module, Any]]:
        """Wrap a network and its optimizer for one phase, and give the network back unwrapped at its end."""
        forward = model.__dict__.get("forward")
        prepared, prepared_optimizer = self._accelerator.prepare(model, optimizer)
        try:
            yield prepared, prepared_optimizer
        finally:
            self._accelerator.unwrap_model(prepared, keep_fp32_wrapper=False)
            self._accelerator.free_memory()
            # Accelerate leaves a method bound by itself, also where there was none, or where replay's stood; and a
            # mark, with which it would give the network of the next phase back as it is, without autocast.
            model.__dict__.pop("_is_accelerate_prepared", None)
            model.__dict__.pop("forward", None)
            if forward is not None:
                model.__dict__["forward"] = forward

    def backward(self, loss: Tensor) -> None:
        """Run backward, scaled where the precision needs it."""
        self._accelerator.backward(loss)

    def clip(self, network: nn.Module, *, norm: float) -> None:
        """Cut the gradients of a network to a norm, all together; what is scaled is brought back first."""
        self._accelerator.clip_grad_norm_(network.parameters(), norm)

    def scaler_state(self) -> dict[str, Any] | None:
        """Give the scale of fp16 gradients; None: there is none."""
        scaler = self._accelerator.scaler
        return None if scaler is None else dict(scaler.state_dict())

    def load_scaler(self, state: dict[str, Any] | None) -> None:
        """Take up the scale of fp16 gradients."""
        scaler = self._accelerator.scaler
        if state and scaler is not None:
            scaler.load_state_dict(state)
            scaler._per_optimizer_states.clear()  # of an optimizer whose step failed, whose place another may take

    @property
    def step_was_skipped(self) -> bool:
        """Whether the optimizer left out its last step, because fp16 gradients had overflowed."""
        return bool(self._accelerator.optimizer_step_was_skipped)

    def gather(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Gather predictions of all processes, without the samples that pad the last batch."""
        return tuple(self._accelerator.gather_for_metrics(tensors))
