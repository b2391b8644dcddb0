"""Use a finished run: judge it on labelled pictures, or let it say what others show."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from frostline.data import Fault, Samples, has_columns, list_pictures, read_picture
from frostline.deployment.trained import Trained
from frostline.errors import DataError, RunFailure
from frostline.recipe.data import read_folder, usable
from frostline.record import Evaluation, Skipped
from frostline.tasks import ImageTask, scores
from frostline.training import Runtime, evaluate, is_out_of_memory, said

BATCH_SIZE = 32
# There is no recipe to write into here: in place of advice that names one of its keys.
_HERE = {
    "data.columns": "name both: `--columns PATH,LABEL` (columns={'path': …, 'label': …})",
    "data.on_bad": "mend or take out what is listed, or leave it out with `--skip-bad` (on_bad='skip')",
}


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a network says of one picture.

    Attributes:
        name: the picture's file.
        predicted: the class with the highest probability; None where the picture cannot be used.
        probabilities: K, by class, in the order of the run's classes; they add up to 1.
        fault: why the picture cannot be used, or None.
    """

    name: str
    predicted: str | None
    probabilities: tuple[float, ...] = ()
    fault: str | None = None


def evaluate_run(
    trained: Trained,
    folder: Path,
    *,
    on_bad: str | None = None,
    follow_links: bool = False,
    columns: Mapping[str, str] | None = None,
) -> tuple[Evaluation, tuple[Skipped, ...], tuple[str, ...]]:
    """Judge a run on labelled pictures that it may never have seen.

    Args:
        trained: the run.
        folder: labelled pictures, as a recipe's `data.test` names them; with the run's classes, or some of them.
        on_bad: `stop` or `skip` pictures that cannot be used; None: as the recipe says.
        follow_links: follow links that lead out of the folder, also where the recipe does not.
        columns: names of the columns `path` and `label`; None: as the recipe says, or by their usual names.

    Returns:
        The evaluation, the pictures that were left out, and what a person should be told about the folder.

    Raises:
        DataError: nothing there to judge on, classes that the run does not know, or pictures that cannot be used.
    """
    recipe = trained.recipe
    if columns is not None and not has_columns(folder):
        found = "no CSV file and no data set, and nothing else has columns"
        raise DataError(f"data {folder}", found=found, do="leave `--columns` (columns) out")
    try:
        read = read_folder(recipe, folder, classes=trained.classes, follow_links=follow_links, columns=columns)
        samples, skipped = usable(read, skip=(on_bad or recipe.data.on_bad) == "skip")
    except DataError as error:
        do = next((here for key, here in _HERE.items() if key in error.do), error.do)
        raise DataError(error.asked, found=error.found, do=do, items=error.items) from None
    task = ImageTask(
        classes=trained.classes, spec=trained.spec, batch_size=recipe.batch_size, workers=recipe.data.workers
    )
    runtime = _runtime(trained)
    model = runtime.place(trained.model)
    judged = _judged(model, samples, task=task, runtime=runtime, split=str(folder))
    return judged, tuple(Skipped(name=fault.name, reason=fault.reason) for fault in skipped), read.notes


def _judged(model: nn.Module, samples: Samples, *, task: ImageTask, runtime: Runtime, split: str) -> Evaluation:
    """Judge a network, with fewer pictures at once where memory does not suffice: the machine may be a smaller one."""
    while True:
        try:
            return evaluate(model, samples, task=task, runtime=runtime, split=split)
        except RuntimeError as error:
            _check_memory(error, left=task.batch_size)
        task = replace(task, batch_size=task.batch_size // 2)


def predict_folder(trained: Trained, source: Path, *, follow_links: bool = False) -> Iterator[Prediction]:
    """Say of each picture below a folder, or of one picture, what the run sees in it.

    Pictures are read by threads, a batch at a time; on a GPU while the batch before is computed. One that cannot be
    used is a prediction with a `fault`, and the others go on.

    Args:
        trained: the run.
        source: a folder, or one picture.
        follow_links: follow links that lead out of the folder, also where the recipe does not.

    Raises:
        DataError: no such folder or picture, or no pictures in it.
    """
    # Not in the generator: what is wrong with the source is told at once, before anybody writes a header.
    follow = follow_links or trained.recipe.data.follow_links
    return _predictions(trained, *list_pictures(source, follow_links=follow))


def _runtime(trained: Trained) -> Runtime:
    """Compute in fp32, as every run is judged in the end; on a GPU if there is one, but for runs on `device: cpu`."""
    return Runtime(device="cpu" if trained.recipe.device == "cpu" else "auto", seed=trained.recipe.seed)


def _predictions(trained: Trained, paths: Sequence[Path], faults: Sequence[Fault]) -> Iterator[Prediction]:
    runtime = _runtime(trained)
    model = runtime.place(trained.model)
    spec = trained.spec

    def read(path: Path) -> Tensor | str:
        try:
            return read_picture(path, spec)
        except DataError as error:
            return error.found

    with ThreadPoolExecutor() as pool:
        batches = [paths[start : start + BATCH_SIZE] for start in range(0, len(paths), BATCH_SIZE)]
        # On a CPU the threads that read and those that compute would wait for each other's cores.
        ahead = 1 if runtime.device.type == "cuda" else 0
        waiting = [[pool.submit(read, path) for path in batch] for batch in batches[:ahead]]
        for number, batch in enumerate(batches):
            waiting += [[pool.submit(read, path) for path in later] for later in batches[number + ahead :][:1]]
            yield from _batch(batch, [future.result() for future in waiting.pop(0)], trained, model, runtime)
    for fault in faults:
        yield Prediction(name=fault.name, predicted=None, fault=fault.reason)


def _batch(
    names: Sequence[Path], pictures: Sequence[Tensor | str], trained: Trained, model: nn.Module, runtime: Runtime
) -> Iterator[Prediction]:
    good = [picture for picture in pictures if isinstance(picture, Tensor)]
    rows: Iterator[np.ndarray] = iter(())
    if good:
        with torch.inference_mode():
            logits_NK = _scores(model, torch.stack(good), runtime)
        rows = iter(logits_NK.float().softmax(1).cpu().double().numpy())
    for name, picture in zip(names, pictures, strict=True):
        if isinstance(picture, str):
            yield Prediction(name=str(name), predicted=None, fault=picture)
            continue
        probabilities_K = next(rows)
        yield Prediction(
            name=str(name),
            predicted=trained.classes[int(probabilities_K.argmax())],
            probabilities=tuple(probabilities_K.tolist()),
        )


def _scores(model: nn.Module, images_NCHW: Tensor, runtime: Runtime) -> Tensor:
    """Give N × K scores, of fewer pictures at once where memory does not suffice."""
    try:
        return scores(model(images_NCHW.to(runtime.device)))
    except RuntimeError as error:
        _check_memory(error, left=len(images_NCHW))
    # Not in the handler: what failed is held as long as its error.
    return torch.cat([_scores(model, half, runtime) for half in images_NCHW.tensor_split(2)])


def _check_memory(error: RuntimeError, *, left: int) -> None:
    """See that an error says that memory did not suffice, and that fewer pictures at once could help.

    Raises:
        RuntimeError: it says something else.
        RunFailure: it was one picture.
    """
    if not is_out_of_memory(error):
        raise error
    if left == 1:
        raise RunFailure("the network", found=f"no memory for one picture ({said(error)})", do="free some") from None
