"""Out of memory: fewer samples at once and more batches to a step, where the step stays the same.

It does but for rounding, and for what is drawn at random within it: a dropout draws for fewer samples at once.
"""

import gc
from dataclasses import replace

import torch
from torch import Tensor, nn

from frostline.errors import RunFailure
from frostline.freezing import FreezePlan, trained_batchnorm
from frostline.tasks import Task

# As torch says it on a CPU, and some libraries on a GPU; there it has an error of its own.
_WORDS = ("not enough memory", "can't allocate memory", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    True
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def said(error: BaseException) -> str:
    """Give the first line of an error, or what it is where it says nothing."""
    return str(error).partition("\n")[0] or type(error).__name__


def halved(
    task: Task,
    model: nn.Module,
    plan: FreezePlan,
    *,
    samples: int,
    accumulate: int,
    title: str,
    processes: int = 1,
) -> tuple[Task, int]:
    """Take half of the samples at once, and twice as many batches to a step.

    Args:
        task: that ran out of memory.
        model: the network.
        plan: of the phase.
        samples: of training.
        accumulate: batches to a step.
        title: of the phase.
        processes: that train together.

    Returns:
        The task, and the batches to a step.

    Raises:
        RunFailure: that would change what is learned, a batch has one sample already, or other processes do not know of
            it.
    """
    size = task.batch_size
    found = f"out of memory with {size} {task.what}s at once"
    if size < 2:
        raise RunFailure(
            title,
            found=f"out of memory with a single {task.what}",
            do=f"hold more, or take a smaller `{task.size_key}`",
        )
    less = size // 2
    do = f"write `batch_size: {less}` and `accumulate: {accumulate * 2}` if that is as well, or hold more"
    if size % 2:
        raise RunFailure(title, found=f"{found}, which cannot be halved", do="write a smaller `batch_size`")
    if processes > 1:
        raise RunFailure(title, found=f"{found} in one of {processes} processes", do=do)
    if (norm := trained_batchnorm(model, plan)) is not None:
        raise RunFailure(title, found=f"{found}; with {less} the trained {norm} would take statistics of {less}", do=do)
    if less == 1 and samples % (task.step_size or size) == 1:
        raise RunFailure(
            title, found=f"{found}; one at a time, none of the {samples} would be left out any more", do=do
        )
    if task.regrouped is not None:
        raise RunFailure(title, found=f"{found}; with {less} {task.regrouped}", do=do)
    return replace(task, batch_size=less, step_size=task.step_size or size), accumulate * 2


def freed() -> None:
    """Give back what an attempt that failed had taken."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def copied(model: nn.Module, plan: FreezePlan) -> dict[str, Tensor]:
    """Copy what a phase may change, to begin it once more; on the CPU, where there is more room."""
    every = model.state_dict()
    return {name: every[name].detach().to("cpu", copy=True) for name in every.keys() - plan.held_everywhere}
