"""A callable in the user's own file → its network, with the input that the file publishes."""

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch import nn

from frostline.backbones.network import IMAGENET_INPUT, Backbone, InputSpec
from frostline.errors import FrostlineError, NetworkError, nearest


def from_file(name: str) -> Backbone:
    """Call a callable in a user's file.

    Args:
        name: `path/to/file.py:callable`.

    Raises:
        NetworkError: no such file or callable, or it gives no network.
    """
    file, _, attribute = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise NetworkError(f"network {name}", found=f"no file {path}", do="write path/to/file.py:callable")
    with _beside(path):
        module = _import(path, name)
        made = _call(module, attribute, path=path, name=name)
    spec = _published_by(module, name)
    if spec is not None:
        return Backbone(name=name, model=made, input=spec, as_taken=True)
    note = f"{path.name} publishes no MEAN and STD: ImageNet's are used; `data.normalize` and `data.size` say otherwise"
    return Backbone(name=name, model=made, input=IMAGENET_INPUT, notes=(note,))


def code_digest(name: str) -> str:
    """Give the SHA-256 of a user's file with a network; nothing for a network of a library, or a file that is gone."""
    file = Path(name.rpartition(":")[0])
    return hashlib.sha256(file.read_bytes()).hexdigest() if ".py:" in name and file.is_file() else ""


def _call(module: Any, attribute: str, *, path: Path, name: str) -> nn.Module:
    if not hasattr(module, attribute):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise NetworkError(
            f"network {name}",
            found=f"{path.name} has no {attribute or 'callable without a name'}; {nearest(attribute, known)}",
            do="name one of them",
        )
    try:
        made = getattr(module, attribute)()
    except FrostlineError:
        raise
    except (Exception, SystemExit) as error:
        needs = _required_arguments(getattr(module, attribute))
        hint = (
            f"it must work without arguments, and {attribute} needs {', '.join(needs)}"
            if needs
            else "mend the callable"
        )
        raise NetworkError(f"network {name}", found=f"{type(error).__name__}: {error}", do=hint) from None
    if not isinstance(made, nn.Module):
        raise NetworkError(
            f"network {name}",
            found=f"it gives {type(made).__name__}, which is no torch.nn.Module",
            do="return the network",
        )
    return made


def _published_by(module: Any, name: str) -> InputSpec | None:
    """Read the input that a user's file publishes: MEAN and STD, or nothing where one of them is not there."""
    mean, std = getattr(module, "MEAN", None), getattr(module, "STD", None)
    if mean is None or std is None:
        return None
    try:
        means, stds = tuple(float(value) for value in mean), tuple(float(value) for value in std)
    except (TypeError, ValueError):
        means, stds = (), ()
    if len(means) not in (1, 3) or len(stds) != len(means) or not all(value > 0 for value in stds):
        raise NetworkError(
            f"network {name}",
            found=f"MEAN is {mean} and STD is {std}",
            do="write one number for each channel (3, or 1), and deviations above 0",
        )
    return InputSpec(size_px=IMAGENET_INPUT.size_px, mean=means, std=stds)


@contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Import the files beside a user's file as in a script, also those that its callable imports."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with suppress(ValueError):  # the user's file may have changed the path itself
            sys.path.remove(folder)


def _import(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"frostline_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise NetworkError(f"network {name}", found=f"{path} is no Python file", do="write path/to/file.py:callable")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickles look their module up by name.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        raise NetworkError(
            f"network {name}", found=f"{path} cannot be imported: {type(error).__name__}: {error}", do="mend the file"
        ) from None
    return module


def _required_arguments(made: Any) -> list[str]:
    try:
        parameters = inspect.signature(made).parameters.values()
    except (TypeError, ValueError):
        return []
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_ONLY)
    return [p.name for p in parameters if p.default is p.empty and p.kind in named]
