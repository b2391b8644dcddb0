"""What a run cost: its seconds by part, and the facts about data, machine and versions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from frostline.record import RunRecord
from frostline.report.frost import frost_map
from frostline.report.listing import words
from frostline.report.numbers import NONE, exact, loss, memory, moment, percent

REST_LEAST_SHARE = 0.005


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some seconds of the run: `percent` is the length of its bar."""

    name: str
    seconds: float
    percent: float
    share: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A titled list of names and what they are."""

    title: str
    items: tuple[tuple[str, str], ...]


def parts(seconds: Mapping[str, float]) -> tuple[Part, ...]:
    """Give the seconds by part, in the order of the record, and what no part accounts for.

    >>> [(part.name, part.seconds) for part in parts({"total": 10.0, "train": 7.0, "proof": 2.0})]
    [('train', 7.0), ('proof', 2.0), ('everything else', 1.0)]
    """
    named = {name: value for name, value in seconds.items() if name != "total"}
    whole = max(seconds.get("total", 0.0), sum(named.values()))
    rest = whole - sum(named.values())
    if named and rest > REST_LEAST_SHARE * whole:
        named["everything else"] = rest
    return tuple(
        Part(
            name=name,
            seconds=value,
            percent=round(min(max(100 * value / whole, 0), 100), 2) if whole else 0.0,
            share=percent(value, whole),
        )
        for name, value in named.items()
    )


def facts(record: RunRecord) -> tuple[Facts, ...]:
    """Collect everything that is told by name: the run, its parameters, its data, the machine, the versions."""
    sizes = [("in all", exact(record.parameters.get("total", sum(stage.parameters for stage in record.outline))))]
    for bar in frost_map(record):
        name = f"phase {bar.number}" if len(record.phases) > 1 else "in training"
        sizes.append((name, f"{exact(bar.trained)} trained, {exact(bar.held)} held"))
    every = (
        Facts(
            title="Run",
            items=(
                ("started", moment(record.started)),
                ("status", record.status),
                ("peak memory", memory(record.peak_rss_mb)),
                ("network", record.network),
                *_pretraining(record),
                *_teacher(record),
            ),
        ),
        Facts(title="Parameters", items=tuple(sizes)),
        Facts(title="Computed once", items=tuple(_replays(record))),
        Facts(title="Samples", items=tuple((split, exact(number)) for split, number in record.samples.items())),
        Facts(title="Machine", items=tuple((name, words(value)) for name, value in record.machine.items())),
        Facts(title="Versions", items=tuple(record.versions.items())),
    )
    return tuple(one for one in every if one.items)


def _teacher(record: RunRecord) -> Iterator[tuple[str, str]]:
    """Say what the network learned from beside labels, and whether that was held."""
    if record.teacher:
        proof = record.teacher["proof"]
        said = "not proven" if proof is None else f"{'proven held' if proof['ok'] else 'NOT HELD'}; {proof['line']}"
        yield "teacher", f"{record.teacher['run']}, {said}"


def _pretraining(record: RunRecord) -> Iterator[tuple[str, str]]:
    """Say from which run on masked words the network came, if from one."""
    told = record.pretraining
    if told:
        yield (
            "pretrained",
            f"in {told.get('run', NONE)}, on the masked words of {exact(told.get('texts'))} texts: epoch "
            f"{told.get('best', NONE)} of {told.get('epochs', NONE)}, loss {loss(told.get('loss'))}",
        )


def _replays(record: RunRecord) -> Iterator[tuple[str, str]]:
    """Say for every phase what was looked up, or why nothing was."""
    for phase in record.phases:
        for line in phase.replay:
            what, _, said = line.partition(": ")
            where = f"phase {phase.index}" if len(record.phases) > 1 else "in training"
            yield where + what.removeprefix("replay").replace(" of", ","), said
