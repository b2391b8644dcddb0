"""Group the units of a network into stages: as it publishes them by how it is written, else by where it halves."""

from collections.abc import Callable, Sequence

from torch import nn

from frostline.selection.parts import HEAD, NECK, STEM, Layer, Stage
from frostline.selection.regions import Regions
from frostline.selection.series import HALVED
from frostline.selection.units import GENERIC, Unit, is_below

# Positions after ÷ positions before: at least this, and the resolution grows again (a class token beside 196 patches
# does not make it grow).
GROWN = 1.5

Units = Sequence[Unit]


def by_execution(units: Units, *, regions: Regions | None = None, series: Sequence[str] = ()) -> tuple[Stage, ...]:
    """Name the stages of a network from its units in the order they run.

    The stem is what runs before the first block, a stage ends where the resolution halves, the neck begins where it
    grows again, the head is the last layer with weights and what follows it. Where the resolution never halves (a
    plain transformer) every block is a stage of its own, `block1` …, and so where a network reads pictures and texts:
    how many tokens a text has says nothing of a resolution. A network without weight layers is all head.

    Args:
        units: the parts of the network, in the order they run.
        regions: what the network says of its head, its neck and its backbone; that goes before what is seen.
        series: the modules that it publishes as its stages; they go before the resolution.
    """
    said = regions or Regions()
    body, head = _split_head(units, said, series)
    trunk, neck = _split_neck(body, said, series)
    stem, named = _published(trunk, series) if series else _seen(trunk, said)
    every = {STEM: stem, **named, NECK: neck, HEAD: head}
    return tuple(Stage(name=name, layers=layers(group)) for name, group in every.items() if group)


def _split_head(units: Units, said: Regions, series: Sequence[str]) -> tuple[list[Unit], list[Unit]]:
    """Split off the head: what the network calls so and what runs after it, else the last layer with weights."""
    inside = {unit for unit in units if unit.is_in(said.head)}
    if inside:
        ran = [index for index, unit in enumerate(units) if unit in inside and unit.positions is not None]
        behind = max(ran, default=len(units))
        body = [unit for index, unit in enumerate(units) if unit not in inside and index < behind]
        return body, [unit for unit in units if unit not in body]
    if said.classifies:
        return list(units), []
    weighted = [index for index, unit in enumerate(units) if unit.weight_layers]
    head_from = max(weighted, default=0)
    # What did not run (a projection for pretraining, written last) does not classify where a linear layer before it
    # can; where none does, its weights may be used without a call, as cosine classifiers do.
    called = max((index for index in weighted if units[index].ran), default=head_from)
    kind = units[called].kind if units else None
    if kind is not None and issubclass(kind, nn.Linear):
        head_from = called
    last = units[head_from] if units else None
    equals = [unit for unit in units if last is not None and unit.is_block and unit.kind is last.kind]
    if last is not None and (last.is_in(series) or (last in equals and len(equals) > 1)):
        return list(units), []  # a stage is no head, nor is a block among its equals: this network has none
    return list(units[:head_from]), list(units[head_from:])


def _split_neck(body: Units, said: Regions, series: Sequence[str]) -> tuple[Units, list[Unit]]:
    """Split off the neck: from the module of that name, behind the backbone, or where the resolution grows again."""
    begins = [index for index, unit in enumerate(body) if unit.is_in(said.neck)]
    backbone = [index for index, unit in enumerate(body) if said.backbone and unit.is_in([said.backbone])]
    if backbone:
        begins.append(backbone[-1] + 1)
    begins += [] if said.classifies or said.mixed else _grows(body, series)
    begin = min(begins, default=len(body))
    return body[:begin], list(body[begin:])


def _grows(body: Units, series: Sequence[str]) -> list[int]:
    """Find where the resolution grows again: behind the stem and the published stages, and not in a chain of layers."""
    watched = max((index for index, unit in enumerate(body) if unit.is_in(series)), default=_end_of_stem(body))
    before: int | None = None
    for index, unit in list(enumerate(body))[watched:]:
        if unit.is_companion:
            continue
        if before and unit.positions and before > 1 and unit.positions >= GROWN * before:
            shrank = any(_halves(body[:earlier], body[earlier]) for earlier in range(index))
            # A generator does nothing but grow: that is its trunk.
            return [index] if shrank or any(other.is_block for other in body[:index]) else []
        before = unit.positions or before
    return []


def _published(trunk: Units, series: Sequence[str]) -> tuple[list[Unit], dict[str, list[Unit]]]:
    """Group by the published stages; what runs between two belongs to the later one from where it halves on."""
    stem: list[Unit] = []
    stages: list[list[Unit]] = [[] for _ in series]
    current, between = -1, list[Unit]()
    before: int | None = None
    for unit in trunk:
        own = next((number for number, name in enumerate(series) if is_below(unit.name, [name])), None)
        halved = before and unit.positions and unit.positions <= HALVED * before and not unit.is_companion
        if own is not None:
            stages[own] += [*between, unit]
            current, between = own, []
        elif current < 0:
            stem.append(unit)
        elif between or (halved and current + 1 < len(series)):
            between.append(unit)
        else:
            stages[current].append(unit)
        if not unit.is_companion:
            before = unit.positions or before
    stages[-1] += between
    return stem, {f"stage{number}": group for number, group in enumerate(stages, 1)}


def _seen(trunk: Units, said: Regions) -> tuple[list[Unit], dict[str, list[Unit]]]:
    """Group by what was seen: the stem before the first block, then by resolution, or by block where it is constant."""
    begin = _end_of_stem(trunk)
    stem, rest = list(trunk[:begin]), trunk[begin:]
    groups = [list(rest)] if said.mixed else by_resolution(rest)
    if len(groups) == 1 and sum(unit.is_block and unit.ran for unit in rest) > 1:
        return stem, {f"block{number}": group for number, group in enumerate(_grouped(rest, _is_next_block), 1)}
    return stem, {f"stage{number}": group for number, group in enumerate(groups, 1)}


def by_resolution(units: Units) -> list[list[Unit]]:
    """Group units so that each group but the first begins where the resolution halves."""
    return _grouped(units, _halves)


def _end_of_stem(trunk: Units) -> int:
    weighted = [index for index, unit in enumerate(trunk) if unit.weight_layers and unit.ran]
    # A block of fewer layers than its like is one too (EfficientNetV2 begins with blocks of a single convolution).
    block_kinds = {unit.kind for unit in trunk if unit.is_block and unit.kind not in GENERIC}
    # What did not run, as one of two towers, begins nothing.
    blocks = [index for index, unit in enumerate(trunk) if unit.ran and (unit.is_block or unit.kind in block_kinds)]
    kinds = [trunk[index].kind for index in blocks]
    if len(blocks) > 1 and weighted[0] == blocks[0] and kinds.count(kinds[0]) == 1:
        return blocks[1]  # what comes first and has no like is a stem of several layers
    if len(kinds) > len(set(kinds)):
        return blocks[0]
    # Without any repeated block it is a chain, and the stem is its embedding, or its first layer, norm included.
    if any(unit.kind is not None and issubclass(unit.kind, nn.Embedding) for unit in trunk[: min(weighted, default=0)]):
        return weighted[0]
    second = weighted[1] if len(weighted) > 1 else len(trunk)
    return min(second, *blocks[:1]) if blocks else second


def _grouped(units: Units, begins: Callable[[Units, Unit], object]) -> list[list[Unit]]:
    groups: list[list[Unit]] = []
    for index, unit in enumerate(units):
        if not groups or begins(units[:index], unit):
            groups.append([])
            # A parameter of an opened module stands before what the module runs.
            while len(groups) > 1 and len(groups[-2]) > 1 and groups[-2][-1].kind is None:
                groups[-1].insert(0, groups[-2].pop())
        groups[-1].append(unit)
    return groups


def _halves(earlier: Units, unit: Unit) -> bool:
    # No stage begins with a norm: where a pooling stands before it, the layer behind it begins the stage.
    if unit.is_companion:
        return False
    # One position is what global pooling leaves, and no resolution.
    before = next((other.positions for other in reversed(earlier) if other.positions and not other.is_companion), None)
    return bool(before and unit.positions and 1 < unit.positions <= HALVED * before)


def _is_next_block(earlier: Units, unit: Unit) -> bool:
    return unit.is_block and unit.ran and any(other.is_block and other.ran for other in earlier)


def layers(units: Units) -> tuple[Layer, ...]:
    """Make a layer of each unit with weights; norms and lone parameters join the layer before them, or the first."""
    groups: list[list[Unit]] = []
    for unit in units:
        if groups and not (unit.weight_layers and any(earlier.weight_layers for earlier in groups[-1])):
            groups[-1].append(unit)
        else:
            groups.append([unit])
    return tuple(
        Layer(
            name=next((unit.name for unit in group if unit.weight_layers), group[0].name),
            parameters=tuple(name for unit in group for name in unit.parameters),
        )
        for group in groups
    )
