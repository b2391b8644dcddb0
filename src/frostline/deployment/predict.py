"""Use a finished run: judge it on labelled samples, or let it say what others show or say."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from frostline.backbones import InputSpec, TextSpec
from frostline.data import (
    Fault,
    Samples,
    Texts,
    fault_of,
    has_columns,
    list_pictures,
    list_texts,
    read_picture,
    split_by_length,
)
from frostline.errors import DataError, RunError, RunFailure
from frostline.recipe.data import read_folder, usable
from frostline.recipe.trained import Trained
from frostline.record import Evaluation, Skipped
from frostline.selection import call
from frostline.tasks import Inputs, Task, moved, scores
from frostline.training import Runtime, evaluate, is_out_of_memory, said

BATCH_SIZE = 32
# Sorted by length among each other.
TEXTS_AT_ONCE = 1024
# There is no recipe to write into here: in place of advice that names one of its keys.
_HERE = {
    "{text: …}": "name it: `--columns TEXT` (columns={'text': …})",
    "{text: …, label: …}": "name both: `--columns TEXT,LABEL` (columns={'text': …, 'label': …})",
    "data.columns": "name both: `--columns PATH,LABEL` (columns={'path': …, 'label': …})",
    "data.on_bad": "mend or take out what is listed, or leave it out with `--skip-bad` (on_bad='skip')",
}


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a network says of one sample.

    Attributes:
        name: the picture's file, or the text's place.
        predicted: the class with the highest probability; None where the sample cannot be used.
        probabilities: K, by class, in the order of the run's classes; they add up to 1.
        fault: why the sample cannot be used, or None.
        text: what a text says.
    """

    name: str
    predicted: str | None
    probabilities: tuple[float, ...] = ()
    fault: str | None = None
    text: str = ""


def evaluate_run(
    trained: Trained,
    folder: Path,
    *,
    on_bad: str | None = None,
    follow_links: bool = False,
    columns: Mapping[str, str] | None = None,
) -> tuple[Evaluation, tuple[Skipped, ...], tuple[str, ...]]:
    """Judge a run on labelled samples that it may never have seen.

    Args:
        trained: the run.
        folder: labelled samples, as a recipe's `data.test` names them; with the run's classes, or some of them, where
            it has any.
        on_bad: `stop` or `skip` samples that cannot be used; None: as the recipe says.
        follow_links: follow links that lead out of the folder, also where the recipe does not.
        columns: names of the columns `path` or `text`, and `label`; None: as the recipe says, or by their usual names.

    Returns:
        The evaluation, the samples that were left out, and what a person should be told about the folder.

    Raises:
        DataError: nothing there to judge on, classes that the run does not know, or samples that cannot be used.
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
    runtime = _runtime(trained)
    model = runtime.place(trained.model)
    judged = _judged(model, samples, task=trained.task, runtime=runtime, split=str(folder))
    return judged, tuple(Skipped(name=fault.name, reason=fault.reason) for fault in skipped), read.notes


def _judged(model: nn.Module, samples: Samples, *, task: Task, runtime: Runtime, split: str) -> Evaluation:
    """Judge a network, with fewer samples at once where memory does not suffice: the machine may be a smaller one."""
    while True:
        try:
            return evaluate(model, samples, task=task, runtime=runtime, split=split)[0]
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
    if not isinstance(trained.spec, InputSpec):
        raise DataError(f"pictures {source}", found="a run that reads texts", do="use `predict_texts`")
    return _predictions(trained, trained.spec, *list_pictures(source, follow_links=follow))


def predict_texts(trained: Trained, source: Path, *, column: str | None = None) -> Iterator[Prediction]:
    """Say of each text of a file what the run takes it for.

    Texts of like length are computed together, some hundreds at a time. An empty one is a prediction with a `fault`.

    Args:
        trained: the run.
        source: a table, or a file with a text a line.
        column: the column of texts in a table; None: that of the recipe where it is there, else by its usual name.

    Raises:
        DataError: no such file or column, or no text in it.
        RunError: the run has learned no classes.
    """
    if trained.recipe.task == "masked_text":
        found = "it has learned masked words, and no classes"
        raise RunError(f"run {trained.run}", found=found, do="train a recipe of `task: text` from its weights")
    spec, columns = trained.spec, trained.recipe.data.columns
    if not isinstance(spec, TextSpec):
        raise DataError(f"texts {source}", found="a run that looks at pictures", do="use `predict_folder`")
    texts = list_texts(source, column=column, likely=None if columns is None else columns.text)
    return _of_texts(trained, spec, texts, source=str(source))


def _of_texts(trained: Trained, spec: TextSpec, texts: Texts, *, source: str) -> Iterator[Prediction]:
    runtime = _runtime(trained)
    model = runtime.place(trained.model)
    for start in range(0, len(texts.content), TEXTS_AT_ONCE):
        content = texts.content[start : start + TEXTS_AT_ONCE]
        tokens = spec.encode([" " if fault_of(text) else text for text in content])
        rows: dict[int, np.ndarray] = {}
        # To the lengths of training: some networks look at the padding, too.
        for length, places in split_by_length(tokens.lengths, trained.bounds, most=spec.most).items():
            for batch in np.split(places, range(BATCH_SIZE, len(places), BATCH_SIZE)):
                padded = [spec.padded(tokens, place, length) for place in batch.tolist()]
                given = {name: torch.stack([one[name] for one in padded]) for name in padded[0]}
                rows |= dict(zip(batch.tolist(), _probabilities(model, given, runtime), strict=True))
        for place, text in enumerate(content):
            name = texts.name(start + place, source)
            if fault := fault_of(text):
                yield Prediction(name=name, predicted=None, fault=fault)
            else:
                yield _prediction(name, rows[place], trained, text=text)


def _runtime(trained: Trained) -> Runtime:
    """Compute in fp32, as every run is judged in the end; on a GPU if there is one, but for runs on `device: cpu`."""
    return Runtime(device="cpu" if trained.recipe.device == "cpu" else "auto", seed=trained.recipe.seed)


def _predictions(
    trained: Trained, spec: InputSpec, paths: Sequence[Path], faults: Sequence[Fault]
) -> Iterator[Prediction]:
    runtime = _runtime(trained)
    model = runtime.place(trained.model)

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
        rows = iter(_probabilities(model, torch.stack(good), runtime))
    for name, picture in zip(names, pictures, strict=True):
        if isinstance(picture, str):
            yield Prediction(name=str(name), predicted=None, fault=picture)
        else:
            yield _prediction(str(name), next(rows), trained)


def _prediction(name: str, probabilities_K: np.ndarray, trained: Trained, *, text: str = "") -> Prediction:
    return Prediction(
        name=name,
        predicted=trained.classes[int(probabilities_K.argmax())],
        probabilities=tuple(probabilities_K.tolist()),
        text=text,
    )


@torch.inference_mode()
def _probabilities(model: nn.Module, inputs: Inputs, runtime: Runtime) -> np.ndarray:
    """Give N × K probabilities."""
    found: np.ndarray = _scores(model, inputs, runtime).float().softmax(1).cpu().double().numpy()
    return found


def _scores(model: nn.Module, inputs: Inputs, runtime: Runtime) -> Tensor:
    """Give N × K scores, of fewer samples at once where memory does not suffice."""
    count = len(inputs) if isinstance(inputs, Tensor) else len(next(iter(inputs.values())))
    try:
        return scores(call(model, moved(inputs, runtime.device)))
    except RuntimeError as error:
        _check_memory(error, left=count)
    # Not in the handler: what failed is held as long as its error.
    return torch.cat([_scores(model, half, runtime) for half in _halves(inputs)])


def _halves(inputs: Inputs) -> list[Inputs]:
    if isinstance(inputs, Tensor):
        return list(inputs.tensor_split(2))
    split = {name: tensor.tensor_split(2) for name, tensor in inputs.items()}
    return [{name: both[half] for name, both in split.items()} for half in range(2)]


def _check_memory(error: RuntimeError, *, left: int) -> None:
    """See that an error says that memory did not suffice, and that fewer samples at once could help.

    Raises:
        RuntimeError: it says something else.
        RunFailure: it was one sample.
    """
    if not is_out_of_memory(error):
        raise error
    if left == 1:
        raise RunFailure("the network", found=f"no memory for one sample ({said(error)})", do="free some") from None
