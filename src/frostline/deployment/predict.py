"""Use a finished run: judge it on labelled pictures, or let it say what others show."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from frostline.data import Fault, list_pictures, read_picture
from frostline.deployment.trained import Trained
from frostline.errors import DataError
from frostline.recipe.data import read_folder, usable
from frostline.record import Evaluation, Skipped
from frostline.tasks import ImageTask, scores
from frostline.training import Runtime, evaluate

BATCH_SIZE = 32


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
    read = read_folder(recipe, folder, classes=trained.classes, follow_links=follow_links, columns=columns)
    try:
        samples, skipped = usable(read, skip=(on_bad or recipe.data.on_bad) == "skip")
    except DataError as error:
        if not error.items:
            raise
        # There is no recipe to write into here.
        do = "mend or take out what is listed, or leave it out with `--skip-bad` (on_bad='skip')"
        raise DataError(error.asked, found=error.found, do=do, items=error.items) from None
    task = ImageTask(
        classes=trained.classes, spec=trained.spec, batch_size=recipe.batch_size, workers=recipe.data.workers
    )
    runtime = _runtime(trained)
    model = runtime.place(trained.model)
    judged = evaluate(model, samples, task=task, runtime=runtime, split=str(folder))
    return judged, tuple(Skipped(name=fault.name, reason=fault.reason) for fault in skipped), read.notes


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
    names: Sequence[Path], pictures: Sequence[Tensor | str], trained: Trained, model: torch.nn.Module, runtime: Runtime
) -> Iterator[Prediction]:
    good = [picture for picture in pictures if isinstance(picture, Tensor)]
    rows: Iterator[np.ndarray] = iter(())
    if good:
        with torch.inference_mode():
            logits_NK = scores(model(torch.stack(good).to(runtime.device)))
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
