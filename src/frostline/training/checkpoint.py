"""Checkpoints: safetensors files, written at once or not at all."""

import hashlib
import json
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from frostline.backbones import load_weights, read_weights
from frostline.errors import RunError
from frostline.freezing import whole
from frostline.record import CHECKPOINTS, write_atomically
from frostline.training.state import State

BEST = "best.safetensors"
LAST = "last.safetensors"
# All that a run needs to go on where it was, while it runs.
RESUME = "resume.safetensors"
_MODEL, _WORDS, _BEST = "model/", "frostline", "best file"


# An epoch whose frozen part is looked up takes less time than to write a network.
SAVE_SECONDS = 10.0


class Keeper:
    """Keeps the best and the last state of a run, and what it needs to go on; a kill loses some seconds of work.

    They are written now and then. What is kept in between are copies of what moved, so that an epoch that fails later
    spoils nothing.

    Args:
        model: the network.
        folder: of the checkpoints.
        least_seconds: between two writings of one file.
        writes: whether this process does; of several that train together one writes, and the others keep nothing.
        gathers: the network is sharded, so that all processes take part in what one of them keeps: every tensor of it,
            since later they would not.
        has_best: whether the file of the best epoch is there already.

    Attributes:
        has_best: whether there is one by now, kept or written.
    """

    def __init__(
        self,
        model: nn.Module,
        folder: Path,
        *,
        least_seconds: float = SAVE_SECONDS,
        writes: bool = True,
        gathers: bool = False,
        has_best: bool = False,
    ) -> None:
        self._model = model
        self._folder = folder
        self._least_seconds = least_seconds
        self._writes = writes
        self._gathers = gathers
        self._waiting: dict[str, dict[str, Tensor]] = {}
        self._originals: Mapping[str, Tensor] = {}
        self._written: dict[str, float] = {}
        self._best_digest = ""
        self.has_best = has_best

    def keep(self, name: str, *, moving: Collection[str]) -> None:
        """Keep the state of this moment.

        The best waits for `keep_to_resume` or `flush`, so that a kill leaves the one that there is to go on from.

        Args:
            name: of the file.
            moving: parameters and buffers that the phase may change; all others stay as they are until `flush`.
        """
        self.has_best = self.has_best or name == BEST
        copies = self._gathered() if self._gathers else self._copied(moving) if self._writes else {}
        if not self._writes:
            return
        self._waiting[name] = copies
        if name != BEST and self._is_due(name):
            self._write(name)

    @contextmanager
    def with_originals(self, originals: Mapping[str, Tensor]) -> Iterator[None]:
        """Write some tensors as they were before a cast, for as long as it lasts.

        Args:
            originals: by name.
        """
        self._originals = originals
        try:
            yield
        finally:
            self._originals = {}

    @property
    def resume_is_due(self) -> bool:
        """Whether what a run needs to go on was not written for a while."""
        return self._is_due(RESUME)

    def keep_to_resume(self, state: State) -> None:
        """Write all that a run needs to go on from this moment.

        Args:
            state: what is known beside the weights.
        """
        own = self._gathered() if self._gathers else self._state()
        if not self._writes:
            return
        if BEST in self._waiting:
            self._write(BEST)  # whoever goes on is told which epoch was the best, and takes it from its file
        every = {_MODEL + name: tensor for name, tensor in own.items()}
        if self.has_best and not self._best_digest:
            self._best_digest = _digest(self._folder / BEST)
        words = {**state.words, _BEST: self._best_digest}
        self._put(RESUME, _bytes({**every, **state.tensors}, {_WORDS: json.dumps(words)}))

    def _copied(self, moving: Collection[str]) -> dict[str, Tensor]:
        return {key: tensor.detach().clone() for key, tensor in self._model.state_dict().items() if key in moving}

    def _gathered(self) -> dict[str, Tensor]:
        every: dict[str, Tensor] = {}
        for name, tensor in self._model.state_dict().items():
            one = whole(tensor)  # in every process, or the others would wait
            if self._writes:
                every[name] = one.detach().to("cpu", copy=True)
        return every

    def _is_due(self, name: str) -> bool:
        return time.monotonic() - self._written.get(name, -self._least_seconds) >= self._least_seconds

    def close(self) -> None:
        """Write what is kept; also when a run fails."""
        self.flush()

    def flush(self) -> None:
        """Write what is kept and not written yet."""
        for name in list(self._waiting):
            self._write(name)

    def clear(self) -> None:
        """Remove what another run left here, and what a kill left half written; not what there is to go on from."""
        if not self._writes:
            return
        self.forget_best()
        for path in [self._folder / LAST, *self._folder.glob(".*.safetensors.*")]:
            path.unlink(missing_ok=True)

    def forget_best(self) -> None:
        """Remove the file of a best epoch that is none of this run's."""
        self.has_best, self._best_digest = False, ""
        if self._writes:
            (self._folder / BEST).unlink(missing_ok=True)

    def read(self, name: str) -> bytes | None:
        """Write what is kept, and give the content of a file; None where another process writes."""
        if not self._writes:
            return None
        self.flush()
        return (self._folder / name).read_bytes()

    def weights(self, name: str) -> dict[str, Tensor]:
        """Write what is kept, and give the tensors of a file.

        Raises:
            RunError: they are not those of the network.
        """
        self.flush()
        found = read_weights(self._folder / name)
        if found.keys() != self._model.state_dict().keys():
            raise RunError(f"checkpoint {name}", found="it is of another network", do="choose another name with --out")
        return found

    def _write(self, name: str) -> None:
        waiting = self._waiting.pop(name)
        self._put(name, _bytes(waiting if self._gathers else {**self._state(), **waiting}))

    def _state(self) -> dict[str, Tensor]:
        return {**self._model.state_dict(), **self._originals}

    def _put(self, name: str, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._folder / name, content)
        if name == BEST:
            self._best_digest = hashlib.sha256(content).hexdigest()
        self._written[name] = time.monotonic()


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What a run needs to go on.

    Attributes:
        model: the weights by name.
        beside: what is known beside them.
        has_best: whether the file of the best epoch is the one of then; it may be gone, or of a later epoch.
    """

    model: Mapping[str, Tensor]
    beside: State
    has_best: bool


def read_snapshot(run: Path) -> Snapshot | None:
    """Read what a run left to go on from; None: nothing, so that it begins at the beginning.

    Args:
        run: the run's folder.

    Raises:
        RunError: the file is damaged.
    """
    path = run / CHECKPOINTS / RESUME
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            every = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            words = json.loads(file.metadata()[_WORDS])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"resume {run}", found=f"{RESUME} cannot be read ({error})", do="remove it, to begin at the beginning"
        ) from None
    model = {name.removeprefix(_MODEL): tensor for name, tensor in every.items() if name.startswith(_MODEL)}
    beside = {name: tensor for name, tensor in every.items() if not name.startswith(_MODEL)}
    best = _digest(run / CHECKPOINTS / BEST)
    return Snapshot(
        model=model,
        beside=State(tensors=beside, words=words),
        has_best=bool(best) and best == words.get(_BEST),
    )


def _digest(path: Path) -> str:
    """Give the digest of a file; nothing where there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def forget_snapshot(run: Path) -> None:
    """Remove what a run needs to go on: it is over, and its record is written."""
    (run / CHECKPOINTS / RESUME).unlink(missing_ok=True)


def checkpoint_bytes(model: nn.Module) -> bytes:
    """Give the content of a checkpoint file: every parameter and buffer, keyed by name.

    A tied tensor is written under each of its names, so the file loads strictly anywhere.
    """
    return _bytes(model.state_dict())


def _bytes(every: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    seen: set[int] = set()
    state: dict[str, Tensor] = {}
    for name, tensor in every.items():
        plain = tensor.detach().cpu().contiguous()
        storage = plain.untyped_storage().data_ptr()
        # safetensors refuses two names for one storage, also where they are different parts of it.
        state[name] = plain.clone() if storage in seen else plain
        seen.add(storage)
    return save(state, metadata)


def checkpoint_of(run: Path) -> Path:
    """Name the checkpoint of a run that counts: the best, or the last where there was no validation.

    Raises:
        RunError: the folder has none.
    """
    checkpoint = next((path for name in (BEST, LAST) if (path := run / CHECKPOINTS / name).is_file()), None)
    if checkpoint is None:
        raise RunError(f"run {run}", found="no checkpoint there", do="run the training again")
    return checkpoint


def load_checkpoint(model: nn.Module, path: Path) -> None:
    """Load a checkpoint into the network it was written for, strictly.

    Raises:
        WeightsError: the file is missing, damaged or of another network.
    """
    load_weights(model, read_weights(path), path=path)
