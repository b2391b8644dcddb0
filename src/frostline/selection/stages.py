"""Group the parts of a network into stages: as it publishes them, else by where the resolution halves as it runs."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from torch import nn

from frostline.selection.parts import HEAD, NECK, STEM, Layer, Stage
from frostline.selection.units import Unit

# Positions after ÷ positions before: at most HALVED and the resolution has halved (a border lost to an unpadded
# convolution has not), at least GROWN and it grows again (a class token beside 196 patches does not).
HALVED = 0.6
GROWN = 1.5


def by_execution(units: Sequence[Unit]) -> tuple[Stage, ...]:
    """Name the stages of a network from its units in the order they run.

    The stem is what runs before the first block, a stage ends where the resolution halves, the neck begins where it
    grows again, the head is the last layer with weights and what follows it. Where the resolution never halves (a
    plain transformer) every block is a stage of its own, `block1` …. A network without weight layers is all head.
    """
    head_from = max((index for index, unit in enumerate(units) if unit.weight_layers), default=0)
    body, head = units[:head_from], list(units[head_from:])
    # Without any block the stem is the first layer, its norm included.
    weighted = [index for index, unit in enumerate(body) if unit.weight_layers]
    first_block = next(
        (index for index, unit in enumerate(body) if unit.is_block), (*weighted, len(body), len(body))[1]
    )
    stem, rest = list(body[:first_block]), body[first_block:]
    trunk, neck = _split_neck(rest)
    groups = _by_resolution(trunk)
    if len(groups) == 1 and sum(unit.is_block for unit in trunk) > 1:
        named = {f"block{number}": group for number, group in enumerate(_by_block(trunk), 1)}
    else:
        named = {f"stage{number}": group for number, group in enumerate(groups, 1)}
    every = {STEM: stem, **named, NECK: neck, HEAD: head}
    return tuple(Stage(name=name, layers=_layers(group)) for name, group in every.items() if group)


def by_publication(model: nn.Module, *, aliases: dict[str, tuple[str, ...]]) -> tuple[Stage, ...] | None:
    """Name the stages as a timm network publishes them (`group_matcher`), or give None where it does not or cannot.

    The classifier (`get_classifier`) is the head; what else the last group holds (a last norm or convolution) belongs
    to the stage before it.

    Args:
        model: any network.
        aliases: listed name of a parameter → its other names.
    """
    publish, classifier = getattr(model, "group_matcher", None), getattr(model, "get_classifier", None)
    if not callable(publish) or not callable(classifier):
        return None
    try:
        from timm.models import group_parameters

        coarse: dict[str, int] = group_parameters(model, publish(coarse=True), reverse=True)
        fine: dict[str, int] = group_parameters(model, publish(coarse=False), reverse=True)
        heads = classifier()
    except Exception:  # timm is not there, refuses (its RDNet does), or the network only looks like one of timm's
        return None
    head_modules = [heads] if isinstance(heads, nn.Module) else list(heads)
    head_ids = {id(parameter) for module in head_modules for parameter in module.parameters()}
    in_head = {name for name, parameter in model.named_parameters() if id(parameter) in head_ids}

    body = sorted(set(coarse.values()))
    last_group = max(body)
    if in_head & {name for name, number in coarse.items() if number == last_group} and len(body) > 1:
        body.remove(last_group)
    reductions = {info.get("reduction") for info in getattr(model, "feature_info", None) or []}
    plain = len(reductions) == 1 and len(set(fine.values())) == len(set(coarse.values()))
    word = "block" if plain else "stage"
    name_of = {number: STEM if place == 0 else f"{word}{place}" for place, number in enumerate(body)}

    members: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    tail = []
    for name, number in coarse.items():
        if name in in_head:
            members[HEAD][fine[name]].append(name)
        elif number in name_of:
            members[name_of[number]][fine[name]].append(name)
        else:
            tail.append(name)
    layers = {stage: [_published_layer(names) for _, names in sorted(members[stage].items())] for stage in members}
    if tail:
        last = layers[name_of[body[-1]]]
        last[-1] = Layer(name=last[-1].name, parameters=(*last[-1].parameters, *tail))
    return tuple(
        Stage(name=stage, layers=tuple(_with_aliases(layer, aliases) for layer in layers[stage]))
        for stage in [*name_of.values(), HEAD]
        if stage in layers
    )


def _published_layer(names: Sequence[str]) -> Layer:
    parts = [name.split(".")[:-1] or [name] for name in names]
    # A last norm may stand in the group of the last block: the layer has the name of what comes first.
    first = [part for part in parts if part[0] == parts[0][0]]
    return Layer(name=".".join(_shared_start(first)), parameters=tuple(names))


def _shared_start(parts: Sequence[Sequence[str]]) -> Iterator[str]:
    for same, *others in zip(*parts, strict=False):
        if any(other != same for other in others):
            return
        yield same


def _with_aliases(layer: Layer, aliases: dict[str, tuple[str, ...]]) -> Layer:
    every = (name for listed in layer.parameters for name in (listed, *aliases.get(listed, ())))
    return Layer(name=layer.name, parameters=tuple(every))


def _split_neck(units: Sequence[Unit]) -> tuple[list[Unit], list[Unit]]:
    before: int | None = None
    for index, unit in enumerate(units):
        if before and unit.positions and before > 1 and unit.positions >= GROWN * before:
            return list(units[:index]), list(units[index:])
        before = unit.positions or before
    return list(units), []


def _by_resolution(units: Sequence[Unit]) -> list[list[Unit]]:
    groups: list[list[Unit]] = []
    before: int | None = None
    for unit in units:
        # One position is what global pooling leaves, and no resolution.
        halved = before and unit.positions and unit.positions > 1 and unit.positions <= HALVED * before
        if not groups or halved:
            groups.append([])
        groups[-1].append(unit)
        before = unit.positions or before
    return groups


def _by_block(units: Sequence[Unit]) -> list[list[Unit]]:
    groups: list[list[Unit]] = [[]]
    for unit in units:
        if unit.is_block and any(earlier.is_block for earlier in groups[-1]):
            groups.append([])
        groups[-1].append(unit)
    return groups


def _layers(units: Sequence[Unit]) -> tuple[Layer, ...]:
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
