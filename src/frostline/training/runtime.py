"""Devices, precision and processes: the only file that knows Accelerate."""

import atexit
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, TypeVar, cast

import torch
from accelerate import Accelerator
from accelerate.data_loader import prepare_data_loader
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import broadcast, broadcast_object_list, gather_object, set_seed
from torch import Tensor, nn
from torch.utils.data import DataLoader

from frostline.data import Buckets, Share, each_part
from frostline.errors import FrostlineError, UserError
from frostline.lora import lay_out_adapters
from frostline.processes import is_one_of_several
from frostline.training.allocator import keep_freed_memory

Precision = Literal["fp32", "bf16", "fp16"]
Device = Literal["auto", "cpu", "cuda"]
T = TypeVar("T")


class Runtime:
    """Where a run computes, in which precision, and in which processes: those that `accelerate launch` started.

    `shards` says that each of them keeps a part of every weight (FSDP2).

    Raises:
        UserError: a GPU was asked for and there is none, a precision that this device does not have, or DeepSpeed.
    """

    def __init__(
        self,
        *,
        precision: Precision = "fp32",
        device: Device = "auto",
        seed: int = 0,
        shards: bool = False,
    ) -> None:
        has_gpu = torch.cuda.is_available()
        if device == "cuda" and not has_gpu:
            raise UserError(
                "device: cuda", found="no GPU that torch can use", do="write `device: cpu` or `device: auto`"
            )
        if precision == "fp16" and (device == "cpu" or not has_gpu):
            raise UserError("precision: fp16", found="no GPU", do="write `precision: bf16`, or `fp32`, which is exact")
        if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
            raise UserError(
                "accelerate launch with DeepSpeed",
                found="DeepSpeed, which wraps networks in a way of its own",
                do="launch without it; `shard: true` keeps a part of every weight in each process",
            )
        keep_freed_memory()
        # Accelerate keeps its state for the whole process, and a second run may want another precision or device.
        met = torch.distributed.is_initialized()
        AcceleratorState._reset_state(reset_partial_state=not met)
        GradientState._reset_state()
        # Accelerate takes processes without a GPU for one another's strangers unless it is told that this is meant.
        without = device == "cpu" or (is_one_of_several() and not has_gpu)
        # Whether somebody asked `accelerate launch` for it; the sharding itself is torch's, which a CPU has too.
        launched = os.environ.pop("ACCELERATE_USE_FSDP", None)
        try:
            self._accelerator = Accelerator(mixed_precision="no" if precision == "fp32" else precision, cpu=without)
        finally:
            if launched is not None:
                os.environ["ACCELERATE_USE_FSDP"] = launched
        if torch.distributed.is_initialized() and not met:
            atexit.register(_take_leave)
        self.shards = self.count > 1 and (shards or str(launched).lower() == "true")
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
        rounded in another order, so every network of a run is placed alike. What is sharded lies as it is written.
        """
        model.to(self.device)
        if any(isinstance(module, nn.Conv2d) for module in model.modules()) and not self.shards:
            model.to(memory_format=torch.channels_last)
            lay_out_adapters(model)
        return model

    def loader(self, loader: DataLoader[Any] | Buckets) -> DataLoader[Any] | Buckets:
        """Put the batches of a loader on the device; it gives this process its own already."""
        return each_part(loader, lambda _, part: self._placed(part))

    def _placed(self, loader: DataLoader[Any]) -> DataLoader[Any]:
        prepared: DataLoader[Any] = prepare_data_loader(
            loader, self.device, num_processes=1, process_index=0, put_on_device=True
        )
        return prepared

    @contextmanager
    def wrapped(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[nn.Module, Any]]:
        """Wrap a network and its optimizer for one phase, and give the network back unwrapped at its end."""
        forward = model.__dict__.get("forward")
        prepared = model
        try:
            # What is sharded is no network to wrap, but runs under autocast like all.
            prepared = self._accelerator.prepare_model(model, device_placement=False, evaluation_mode=self.shards)
            # Without a scale there is nothing to do around an optimizer.
            scales = self._accelerator.scaler is not None
            yield prepared, self._accelerator.prepare_optimizer(optimizer) if scales else optimizer
        finally:
            self._accelerator.unwrap_model(prepared, keep_fp32_wrapper=False)
            if self.device.type == "cuda":
                self._accelerator.free_memory()
            else:
                # The same without a look at every object of the process, which takes longer than some phases.
                self._accelerator._models.clear()
                self._accelerator._optimizers.clear()
            # Accelerate leaves a method bound by itself, also where there was none, or where replay's stood; and a
            # mark, with which it would give the network of the next phase back as it is, without autocast.
            model.__dict__.pop("_is_accelerate_prepared", None)
            model.__dict__.pop("forward", None)
            if forward is not None:
                model.__dict__["forward"] = forward

    def local(self, network: nn.Module) -> AbstractContextManager[Any]:
        """Let a network under DDP keep its gradients to itself: batches of a step follow, after which they are shared.

        What is sharded shares them with every batch, which comes to the same.
        """
        return self._accelerator.no_sync(network) if self.count > 1 else nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Run backward, scaled where the precision needs it."""
        if self._accelerator.scaler is None:
            torch.autograd.backward(loss)
        else:
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

    @property
    def number(self) -> int:
        """The number of this process, from 0."""
        return int(self._accelerator.process_index)

    @property
    def count(self) -> int:
        """How many processes train together."""
        return int(self._accelerator.num_processes)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks to a person; one of all does."""
        return self.number == 0

    def share(self, *, least: int = 2) -> Share:
        """Say what of every batch is this process's; `least` as in `Share`."""
        return Share(number=self.number, count=self.count, least=least)

    def seed_apart(self, seed: int) -> None:
        """Let every process draw other numbers from here on: of dropout, not of weights, which are the same in all."""
        if self.number:
            set_seed(seed + self.number)

    def gathered(self, value: T) -> list[T]:
        """Wait for all, and give what each of them has, in their order."""
        return list(gather_object([value])) if self.count > 1 else [value]

    def summed(self, value: float) -> float:
        """Wait for all, and give the sum of what they have."""
        if self.count == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        return float(self._accelerator.reduce(total, reduction="sum"))

    def from_main(self, value: T) -> T:
        """Wait for the main process, and give what it has."""
        if self.count == 1:
            return value
        found: list[T] = broadcast_object_list([value])
        return found[0]

    def align(self, tensors: Iterable[Tensor]) -> None:
        """Give tensors the values that they have in the main process."""
        if self.count == 1:
            return
        with torch.no_grad():
            for tensor in tensors:
                tensor.copy_(broadcast(tensor.detach().clone(memory_format=torch.contiguous_format)))

    def on_main(self, act: Callable[[], T]) -> T:
        """Do something in the main process alone, and give to all what it gives; its error, too."""
        found = self.together(lambda: act() if self.is_main else None)
        return cast(T, self.from_main(found))

    def together(self, act: Callable[[], T]) -> T:
        """Do something in every process, and wait for all; an error in one of them is raised in every one."""
        if self.count == 1:
            return act()
        try:
            found = act()
        except FrostlineError as error:
            self.agree(error)
            raise
        self.agree(None)
        return found

    def agree(self, error: FrostlineError | None) -> None:
        """Wait for all; an error in one of them is raised in every one.

        Args:
            error: what went wrong in this process, or None.
        """
        if self.count == 1:
            if error is not None:
                raise error
            return
        if not self.summed(float(error is not None)):
            return
        first = next(one for one in self.gathered(error) if one is not None)
        first.in_every_process = True
        raise first


def _take_leave() -> None:
    """Part from the other processes as this one ends.

    Gloo's threads end with their group. One that is left, and lays down a tensor while the interpreter ends, aborts the
    process. NCCL has none that do; told to part, it waits for processes that may be gone.
    """
    if torch.distributed.is_initialized() and torch.distributed.get_backend() == "gloo":
        torch.distributed.destroy_process_group()
