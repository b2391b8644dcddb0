"""Labelled texts: a table with a row a text, its words and its label."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from frostline.data.faults import counted
from frostline.data.samples import FEWEST_CLASSES, Samples
from frostline.data.table import LABEL_COLUMNS, PATH_COLUMNS, TABLES, Column, read_rows
from frostline.data.texts import Texts, shortened
from frostline.errors import DataError

TEXT_COLUMNS = ("text", "sentence", "utterance", "content", "review", "query", "question", "message")
TEXT_LABEL_COLUMNS = (*LABEL_COLUMNS, "intent")
NAME_BOTH = "name both: `data.columns: {text: …, label: …}`"


def read_texts(
    table: Path, *, classes: Sequence[str] | None = None, columns: Mapping[str, str] | None = None
) -> Samples:
    """Read labelled texts from a CSV or TSV file, or from JSON lines.

    Args:
        table: a row a text; spaces around it do not count.
        classes: labels that may be there, in the order of the labels; None: those that are there, sorted.
        columns: names of the columns, `text` and `label`; None: by their usual names.

    Raises:
        DataError: no such file or columns, no rows, or rows without a label or with one that is not in `classes`, each
            named with its line.
    """
    asked = f"data {table}"
    if not table.is_file():
        found = "a folder, and no data set" if table.is_dir() else "no such file"
        do = "name a .csv, .tsv or .jsonl file of texts and labels, or a folder that Hugging Face datasets wrote"
        raise DataError(asked, found=found, do=do)
    if table.suffix.lower() not in TABLES:
        raise DataError(asked, found="no table of texts", do=f"name one that ends in {', '.join(sorted(TABLES))}")
    wanted = (
        Column(what="text", name=(columns or {}).get("text"), usual=TEXT_COLUMNS),
        Column(what="label", name=(columns or {}).get("label"), usual=TEXT_LABEL_COLUMNS),
    )
    rows = [(line, text, label) for line, (text, label) in read_rows(table, wanted, do=NAME_BOTH)]
    if not rows:
        raise DataError(asked, found="no rows", do="give it a row a text: text and label")
    known = sorted({label for _, _, label in rows if label}) if classes is None else list(classes)
    wrong = [f"line {line}: {why}" for line, _, label in rows for why in _mistakes(label, known)]
    if wrong:
        do = "mend these rows or take them out"
        raise DataError(asked, found=f"{counted(len(wrong), 'row')} cannot be used", do=do, items=wrong)
    if classes is None and len(known) < FEWEST_CLASSES:
        raise DataError(asked, found=f"one class only ({known[0]})", do="give rows of at least two classes")
    places = {name: place for place, name in enumerate(known)}
    return labelled(
        Texts(tuple(text for _, text, _ in rows), np.asarray([line for line, _, _ in rows]), "{source}:{place}"),
        source=str(table),
        classes=known,
        labels_N=np.asarray([places[label] for _, _, label in rows], dtype=np.int64),
    )


def holds_texts(table: Path) -> bool:
    """Whether a file is a table with a column of texts and none of pictures, or a folder a data set of no pictures."""
    if table.is_dir():
        infos = [*table.glob("dataset_info.json"), *table.glob("*/dataset_info.json")]
        return bool(infos) and not any('"Image"' in info.read_text(encoding="utf-8") for info in infos)
    if table.suffix.lower() not in TABLES:
        return False
    found = {}
    for what, usual in (("text", TEXT_COLUMNS), ("path", PATH_COLUMNS)):
        try:
            next(read_rows(table, (Column(what=what, name=None, usual=usual),), do=""), None)
            found[what] = True
        except DataError:
            found[what] = False
    return found["text"] and not found["path"]


def labelled(texts: Texts, *, source: str, classes: Sequence[str], labels_N: np.ndarray) -> Samples:
    """Give texts as samples, and say where some stand there with several labels."""
    first: dict[str, int] = {}
    several = {
        text
        for text, label in zip(texts.content, labels_N.tolist(), strict=True)
        if text and first.setdefault(text, label) != label
    }
    example = next((text for text in texts.content if text in several), "")
    have = "has" if len(several) == 1 else "have"
    note = f"{counted(len(several), 'text')} of {source} {have} several labels, such as {shortened(example)}"
    return Samples(
        source=source,
        classes=tuple(classes),
        labels=labels_N,
        texts=texts,
        notes=(note,) if several else (),
    )


def unlabelled(texts: Texts, *, source: str) -> Samples:
    """Give texts as samples without classes."""
    return Samples(source=source, classes=(), labels=np.zeros(len(texts.content), dtype=np.int64), texts=texts)


def _mistakes(label: str, known: Sequence[str]) -> Iterator[str]:
    if not label:
        yield "it has no label"
    elif label not in known:
        yield f"{label} is a class that the training data does not have"
