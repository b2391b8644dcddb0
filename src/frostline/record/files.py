"""The files of a run's folder: their names, and how they are written, so that a kill leaves none half written."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any, TypeVar

from frostline.errors import RunError

T = TypeVar("T")
Json = dict[str, Any]

RECORD_FILE = "record.json"
PROOF_FILE = "proof.json"
RECIPE_FILE = "recipe.yaml"
CARD_FILE = "model.json"
# The folder of what turns texts into numbers.
TOKENIZER = "tokenizer"
CHECKPOINTS = "checkpoints"
# The folder of the run that a run goes on from, within its own.
PRETRAINING = "pretraining"


def write_json(path: Path, content: Json) -> None:
    """Write a JSON file at once or not at all: a kill leaves the file as it was."""
    write_atomically(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file beside its place, flush it to the disk and move it there; a kill leaves what was there.

    Args:
        path: where the file belongs; its folder exists.
        content: text (written as UTF-8) or bytes.
    """
    # Names of files may be no text at all.
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes a file that its owner alone may read; a run folder is as readable as any new file.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(beside, 0o666 & ~umask)
        os.replace(beside, path)
    except BaseException as error:
        Path(beside).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)  # a full disk does not say of which file
        raise


def read_json(path: Path, kind: type[T], *, asked: str, do: str) -> T:
    """Read a JSON file as a dataclass that its content must fit.

    Args:
        path: the file; it exists.
        kind: the dataclass.
        asked: for the error, whose file it is.
        do: for the error, what a person can do about it.

    Raises:
        RunError: it does not fit.
    """
    # Here and not at the top: whoever only freezes and verifies needs nothing but torch.
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise RunError(asked, found=f"{path.name} cannot be read: {where}: {first['msg']}", do=do) from None
