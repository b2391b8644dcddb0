"""A run that was interrupted: where it was, what of it fits the recipe of now, and what does not, by name."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pydantic import TypeAdapter
from torch import Tensor, nn

from frostline.backbones import code_digest
from frostline.errors import RunError, first_of
from frostline.recipe.assembly import Assembly
from frostline.record import EpochRecord, PhaseRecord, Proof
from frostline.tasks import Classification
from frostline.training import Best, PhaseState, Snapshot, State, put

_EPOCHS: TypeAdapter[tuple[EpochRecord, ...]] = TypeAdapter(tuple[EpochRecord, ...])
_PHASES: TypeAdapter[tuple[PhaseRecord, ...]] = TypeAdapter(tuple[PhaseRecord, ...])
_PROOFS: TypeAdapter[tuple[Proof, ...]] = TypeAdapter(tuple[Proof, ...])
# Of what is kept to go on from.
FORMAT = 6
# More names than this nobody reads.
NAMED = 8


@dataclass(frozen=True, kw_only=True)
class Interrupted:
    """Where a run was.

    Attributes:
        same: whether recipe, data, network and number of processes are those of then.
        phase: the one that ran, from 1.
        phase_state: where it was; None: it had not begun.
        beginning: with what it was to begin.
        epochs, phases, proofs, gathered: what there was of the run; `gathered` are remarks for a person.
        started, seconds, total_seconds: of the run until then.
        start_digests: of what every phase holds, before the first.
        beside_digests: of buffers beside that, before the first.
        since: before what they were taken.
        remarks: what of it is taken up, and what is not, where something is another.
        has_best: whether the file of its best epoch is there, and counts.
    """

    same: bool
    phase: int
    phase_state: PhaseState | None
    beginning: State
    epochs: tuple[EpochRecord, ...]
    phases: tuple[PhaseRecord, ...]
    proofs: tuple[Proof, ...]
    gathered: Sequence[str]
    started: str
    seconds: Mapping[str, float]
    total_seconds: float
    start_digests: dict[str, str]
    beside_digests: dict[str, str]
    since: str
    remarks: tuple[str, ...]
    has_best: bool
    _best: Mapping[str, Any]
    _model: Mapping[str, Tensor]

    @classmethod
    def of(cls, snapshot: Snapshot, assembly: Assembly, *, processes: int, shards: bool) -> Self:
        """Read where a run was, and compare its recipe, data, network and processes with those of now.

        Raises:
            RunError: nothing of its network fits, it was in a phase that there is no more, or another version of
                frostline left it.
        """
        words = snapshot.beside.words
        if words.get("format") != FORMAT:
            raise RunError(
                "resume", found="another version of frostline began that run", do="go on with that one, or begin anew"
            )
        differ = _differences(snapshot, assembly, processes=[processes, shards])
        inner = State(tensors=snapshot.beside.tensors, words=words["phase_state"])
        return cls(
            same=not differ,
            phase=words["phase"],
            phase_state=PhaseState.from_state(inner, same=not differ) if words["begun"] else None,
            beginning=inner,
            epochs=_EPOCHS.validate_python(words["epochs"]),
            phases=_PHASES.validate_python(words["phases"]),
            proofs=_PROOFS.validate_python(words["proofs"]),
            gathered=words["remarks"],
            started=words["started"],
            seconds=words["seconds"],
            total_seconds=words["total_seconds"],
            start_digests=words["start_digests"],
            beside_digests=words["beside_digests"],
            since=words["since"],
            remarks=_remarks(snapshot, assembly, differ) if differ else (),
            has_best=snapshot.has_best and not differ,
            _best=words["best"],
            _model=snapshot.model,
        )

    def take_up(self, model: nn.Module, *, best: Best) -> None:
        """Give a network the weights of then, and the best epoch its place.

        Args:
            model: placed; of tensors that are not there, or have another shape, it keeps its own.
            best: of the run; it begins anew where something is another: it might be of another network.
        """
        own = model.state_dict()
        put(own, {name: self._model[name] for name in _fitting(own, self._model)})
        if self.same:
            best.put_back(Best(**self._best))


def data_of(assembly: Assembly) -> dict[str, Any]:
    """Give what of the data decides whether a run is still the same."""
    digests = {part: samples.digest for part, samples in assembly.data.by_name().items()}
    # As JSON has it: lists, where there are tuples.
    given = json.loads(json.dumps(assembly.task.given))
    task = assembly.task
    teacher = task.teacher.digest if isinstance(task, Classification) and task.teacher is not None else None
    return {"classes": list(task.classes), "samples": digests, "given": given, "teacher": teacher}


def _fitting(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    return [name for name, tensor in own.items() if name in found and found[name].shape == tensor.shape]


def _differences(snapshot: Snapshot, assembly: Assembly, *, processes: list[Any]) -> list[str]:
    """Name what is not as it was: keys of the recipe, the data, the network, the processes."""
    words = snapshot.beside.words
    then, now = words["recipe"], assembly.recipe.model_dump(mode="json")
    differ = [key for key in now if then.get(key) != now[key]]
    data_then, data_now = dict(words["data"]), data_of(assembly)
    if data_then.pop("given") != data_now.pop("given") and not differ:
        differ.append("what the network is given of a sample")
    if data_then.pop("teacher") != data_now.pop("teacher") and "distill" not in differ:
        differ.append("the weights of the teacher")
    if data_then != data_now and "data" not in differ:
        differ.append(f"the {assembly.data.train.what}s")
    own = assembly.model.state_dict()
    unlike = own.keys() != snapshot.model.keys() or len(_fitting(own, snapshot.model)) < len(own)
    if unlike and not differ:
        differ.append("the network")
    if words["code"] != code_digest(assembly.recipe.model.name) and "model" not in differ:
        differ.append("the file of the network")
    if (before := words["processes"]) != processes:
        said = [f"{count}{', sharded' if shards else ''}" for count, shards in (before, processes)]
        differ.append(f"the processes ({said[0]} then, {said[1]} now)")
    return differ


def _remarks(snapshot: Snapshot, assembly: Assembly, differ: Sequence[str]) -> tuple[str, ...]:
    """Say what is taken up and what is not, by name."""
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
    whole = [stage.name for stage in assembly.outline if stage.parameters and set(stage.parameters) <= fitting]
    lines = [
        f"resumed; changed since: {', '.join(differ)}; "
        f"{len(fitting)} of {len(own)} tensors restored, {', '.join(whole) or 'no stage'} as a whole"
    ]
    left = [name for name in own if name not in fitting]
    if left:
        lines.append(f"not restored, as the recipe makes them: {_named(left, own, snapshot.model)}")
    gone = [name for name in snapshot.model if name not in own]
    if gone:
        lines.append(f"not restored, in that run alone: {_named(gone, snapshot.model, {})}")
    lines.append("restored too: epochs and random numbers; anew: the best epoch, the rates, what is replayed")
    return tuple(lines)


def _named(names: list[str], own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    shown = [
        f"{name} ({_shape(own[name])}" + (f", {_shape(found[name])} in that run)" if name in found else ")")
        for name in names
    ]
    return first_of(shown, most=NAMED)


def _shape(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "one number"
