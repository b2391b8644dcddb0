"""A run that was interrupted: where it was, what of it fits the recipe of now, and what does not, by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from frostline.errors import RunError
from frostline.recipe.assembly import Assembly
from frostline.record import EpochRecord, PhaseRecord, Proof
from frostline.training import Best, PhaseState, Snapshot, State, load_random

_EPOCHS: TypeAdapter[tuple[EpochRecord, ...]] = TypeAdapter(tuple[EpochRecord, ...])
_PHASES: TypeAdapter[tuple[PhaseRecord, ...]] = TypeAdapter(tuple[PhaseRecord, ...])
_PROOFS: TypeAdapter[tuple[Proof, ...]] = TypeAdapter(tuple[Proof, ...])
# More names than this nobody reads.
NAMED = 8


@dataclass(frozen=True, kw_only=True)
class Interrupted:
    """Where a run was.

    Attributes:
        same: whether the recipe is the one of then.
        phase: the one that ran, from 1.
        phase_state: where it was; None: it had not begun.
        epochs, phases, proofs: what had been gathered.
        started, seconds, total_seconds: of the run until then.
        start_digests: of what every phase holds, before the first.
        remarks: what of it is taken up, and what is not, where the recipe is another one.
    """

    same: bool
    phase: int
    phase_state: PhaseState | None
    epochs: tuple[EpochRecord, ...]
    phases: tuple[PhaseRecord, ...]
    proofs: tuple[Proof, ...]
    started: str
    seconds: Mapping[str, float]
    total_seconds: float
    start_digests: dict[str, str]
    remarks: tuple[str, ...]
    _best: Mapping[str, Any]
    _model: Mapping[str, Tensor]
    _begin: State

    @classmethod
    def of(cls, snapshot: Snapshot, assembly: Assembly) -> Self:
        """Read where a run was, and compare its recipe with the one of now.

        Raises:
            RunError: nothing of its network fits, or it was in a phase that there is no more.
        """
        words = snapshot.beside.words
        recipe = assembly.recipe.model_dump(mode="json")
        same = words["recipe"] == recipe
        remarks = () if same else _compared(snapshot, assembly)
        inner = State(tensors=snapshot.beside.tensors, words=words["phase_state"])
        return cls(
            same=same,
            phase=words["phase"],
            phase_state=PhaseState.from_state(inner, same=same) if words["begun"] else None,
            epochs=_EPOCHS.validate_python(words["epochs"]),
            phases=_PHASES.validate_python(words["phases"]),
            proofs=_PROOFS.validate_python(words["proofs"]),
            started=words["started"],
            seconds=words["seconds"],
            total_seconds=words["total_seconds"],
            start_digests=words["start_digests"],
            remarks=remarks,
            _best=words["best"],
            _model=snapshot.model,
            _begin=inner,
        )

    def take_up(self, model: nn.Module, *, best: Best) -> None:
        """Give a network the weights of then, and the best epoch its place.

        Args:
            model: placed; of tensors that are not there, or have another shape, it keeps its own.
            best: of the run; with another metric it begins anew.
        """
        own = model.state_dict()
        with torch.no_grad():
            for name in _fitting(own, self._model):
                own[name].copy_(self._model[name])
        if best.metric == self._best["metric"]:
            best.epoch, best.phase, best.value = self._best["epoch"], self._best["phase"], self._best["value"]
            best.metrics = dict(self._best["metrics"])

    def take_up_random(self) -> None:
        """Take up the random numbers of the moment in which a phase was to begin."""
        load_random(self._begin)


def _fitting(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    return [name for name, tensor in own.items() if name in found and found[name].shape == tensor.shape]


def _compared(snapshot: Snapshot, assembly: Assembly) -> tuple[str, ...]:
    """Say which keys of the recipe differ, and which tensors are taken up."""
    then, now = snapshot.beside.words["recipe"], assembly.recipe.model_dump(mode="json")
    changed = [key for key in now if then.get(key) != now[key]]
    phase = snapshot.beside.words["phase"]
    if phase > len(assembly.plans):
        raise RunError(
            "resume",
            found=f"the run was in phase {phase}, and the recipe has {len(assembly.plans)}",
            do="write as many phases, or choose another name with --out",
        )
    own = assembly.model.state_dict()
    fitting = set(_fitting(own, snapshot.model))
    if not fitting:
        raise RunError("resume", found="no tensor of that run is in this network", do="choose another name with --out")
    lines = [f"resumed with another recipe: {', '.join(changed)} differ; {len(fitting)} of {len(own)} tensors restored"]
    left = [name for name in own if name not in fitting]
    if left:
        lines.append(f"not restored, as the recipe makes them: {_named(left, own, snapshot.model)}")
    gone = [name for name in snapshot.model if name not in own]
    if gone:
        lines.append(f"not restored, in that run alone: {_named(gone, snapshot.model, {})}")
    return tuple(lines)


def _named(names: list[str], own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    shown = [
        f"{name} ({_shape(own[name])}" + (f", {_shape(found[name])} in that run)" if name in found else ")")
        for name in names[:NAMED]
    ]
    return ", ".join(shown) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _shape(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "one number"
