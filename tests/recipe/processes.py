"""Runs in several processes (gloo, CPU), as `torchrun` starts them: a recipe in each, and what each of them found."""

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.distributed.tensor import DTensor

from frostline.errors import FrostlineError
from frostline.freezing import digests
from frostline.recipe import finetune, load_recipe, run
from frostline.training import compiling

PATIENCE_SECONDS = 120


def several(folder: Path, recipes: Sequence[tuple[Path, Path]], *, count: int, **words: Any) -> list[list[dict]]:
    """Run recipes one after another in several processes.

    Args:
        folder: of its own, for what they exchange.
        recipes: files, each with the run's folder.
        count: of processes.
        words: for `finetune`.

    Returns:
        For each process, for each recipe: `error` (its text, or ""), `programs`, how often compiled ones ran, `digests`
        of the network that it ended with, and `parts`, the numbers of its parameters that lie in this process.
    """
    processes = started(folder, recipes, count=count, **words)
    wait(processes)
    return [json.loads((folder / f"found {number}.json").read_text()) for number in range(count)]


def started(folder: Path, recipes: Sequence[tuple[Path, Path]], *, count: int, **words: Any) -> list[Any]:
    """Start what `several` waits for."""
    folder.mkdir(parents=True)
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["frostline.recipe.run", "torch.utils.tensorboard.writer"])
    texts = [(str(recipe), str(out)) for recipe, out in recipes]
    processes = [
        server.Process(target=_work, args=(number, count, str(folder), texts, words)) for number in range(count)
    ]
    for process in processes:
        process.start()
    return processes


def wait(processes: Sequence[Any], *, until: Callable[[], bool] = lambda: False) -> bool:
    """Wait until all have ended, or until something else; whatever is left after minutes is killed.

    Returns:
        Whether all have ended by themselves.
    """
    end = time.monotonic() + PATIENCE_SECONDS
    try:
        while any(process.is_alive() for process in processes):
            if until():
                return False
            assert time.monotonic() < end, "the processes wait for each other"
            time.sleep(0.005)
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
            process.join()
    assert all(process.exitcode == 0 for process in processes), [process.exitcode for process in processes]
    return True


class Programs:
    """Torch's compiler but for its code, which takes a minute to make; it counts how often a program ran."""

    def __init__(self) -> None:
        self.ran = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        from torch._dynamo import lookup_backend  # not at the top: it takes seconds

        program = lookup_backend("aot_eager")(graph, inputs)

        def run(*args: Any) -> Any:
            self.ran += 1
            return program(*args)

        return run


def _work(number: int, count: int, folder: str, recipes: Sequence[tuple[str, str]], words: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    programs = Programs()
    compiling.COMPILER = programs
    own = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    # Nobody asks for an address where they meet by a file, but Accelerate wants one.
    os.environ |= {"MASTER_ADDR": "localhost", **{name: str(value) for name, value in own.items()}}
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=count)
    ended: list[dict[str, Any]] = []
    judge = run.evaluate

    def evaluate(model: Any, *args: Any, **keys: Any) -> Any:
        own = [one.to_local() if isinstance(one, DTensor) else one for one in model.parameters()]
        ended.append({"digests": digests(model, model.state_dict()), "parts": sum(one.numel() for one in own)})
        return judge(model, *args, **keys)

    run.evaluate = evaluate
    found = []
    for recipe, out in recipes:
        ended.clear()
        programs.ran = 0
        error = ""
        try:
            finetune(load_recipe(recipe), out=Path(out), **words)
        except FrostlineError as one:
            error = f"{type(one).__name__} {one}"
        found.append({"error": error, "programs": programs.ran, **(ended[0] if ended else {})})
    (Path(folder) / f"found {number}.json").write_text(json.dumps(found))
    distributed.barrier()
    # All is written; a thread of Gloo's that lays down a tensor while the interpreter ends would abort the process.
    os._exit(0)
