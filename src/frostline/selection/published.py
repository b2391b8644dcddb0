"""Read the stages that a network of timm publishes in so many words: its `group_matcher`."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from torch import nn

from frostline.selection.parts import HEAD, STEM, Layer, Stage
from frostline.selection.units import is_weight_layer

Groups = dict[str, int]


def by_publication(
    model: nn.Module, *, aliases: dict[str, tuple[str, ...]], heads: Sequence[str]
) -> tuple[Stage, ...] | None:
    """Name the stages as a timm network publishes them (`group_matcher`), or give None where it does not or cannot.

    What else the last group holds beside the head (a last norm or convolution) belongs to the stage before it, and so
    does a last group of nothing but norms.

    Args:
        model: any network.
        aliases: listed name of a parameter → its other names.
        heads: modules that are the head.
    """
    groups = _groups(model)
    if groups is None:
        return None
    coarse, fine = groups
    head_ids = {id(parameter) for name in heads for parameter in model.get_submodule(name).parameters()}
    in_head = {name for name, parameter in model.named_parameters() if id(parameter) in head_ids}
    body = sorted(set(coarse.values()))
    if in_head & {name for name, number in coarse.items() if number == body[-1]} and len(body) > 1:
        body.pop()
    body = body[:1] + [number for number in body[1:] if number in _weighted(model, coarse)]
    reductions = {info.get("reduction") for info in getattr(model, "feature_info", None) or []}
    as_fine = len(set(fine.values())) == len(set(coarse.values()))
    if as_fine and len(reductions) > 1 and len(body) - 1 > len(reductions):
        return None  # more groups than resolutions, and none holds two layers: these are blocks, and no stages
    word = "block" if as_fine and len(reductions) == 1 else "stage"
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
    if tail:
        last = members[name_of[body[-1]]]
        last[max(last)] += tail
    named = _named_layers({stage: [names for _, names in sorted(members[stage].items())] for stage in members})
    return tuple(
        Stage(name=stage, layers=tuple(_with_aliases(layer, aliases) for layer in named[stage]))
        for stage in [*name_of.values(), HEAD]
        if stage in named
    )


def _groups(model: nn.Module) -> tuple[Groups, Groups] | None:
    """Ask for the number of each parameter's stage and of its layer."""
    publish = getattr(model, "group_matcher", None)
    if not callable(publish) or not callable(getattr(model, "get_classifier", None)):
        return None
    try:
        from timm.models import group_parameters

        coarse: Groups = group_parameters(model, publish(coarse=True), reverse=True)
        fine: Groups = group_parameters(model, publish(coarse=False), reverse=True)
    except Exception:  # timm is not there, refuses (its RDNet does), or the network only looks like one of timm's
        return None
    return coarse, fine


def _weighted(model: nn.Module, groups: Groups) -> set[int]:
    """Give the groups that hold a convolution, a linear layer or the like."""
    layers = {name for name, module in model.named_modules() if is_weight_layer(module)}
    return {number for name, number in groups.items() if name.rpartition(".")[0] in layers}


def _named_layers(stages: dict[str, list[list[str]]]) -> dict[str, list[Layer]]:
    """Name each layer by where its parameters are, as far down as sets it apart from the others."""
    starts = {id(names): _start(names) for groups in stages.values() for names in groups}
    taken = {start[:length] for start in starts.values() for length in range(1, len(start))}
    named = {}
    for stage, groups in stages.items():
        named[stage] = [
            Layer(name=_apart(starts[id(names)], names[0], taken), parameters=tuple(names)) for names in groups
        ]
    return named


def _start(names: Sequence[str]) -> tuple[str, ...]:
    parts = [name.split(".")[:-1] or [name] for name in names]
    # A last norm may stand in the group of the last block: the layer has the name of what comes first.
    return tuple(_shared_start([part for part in parts if part[0] == parts[0][0]]))


def _apart(start: tuple[str, ...], first: str, taken: set[tuple[str, ...]]) -> str:
    """Go down towards the first parameter while other layers lie below the same name (`stages.1` → its downsample)."""
    path = tuple(first.split(".")[:-1]) or (first,)
    length = len(start)
    while path[:length] in taken and length < len(path):
        length += 1
    return ".".join(path[:length])


def _shared_start(parts: Sequence[Sequence[str]]) -> Iterator[str]:
    for same, *others in zip(*parts, strict=False):
        if any(other != same for other in others):
            return
        yield same


def _with_aliases(layer: Layer, aliases: dict[str, tuple[str, ...]]) -> Layer:
    every = (name for listed in layer.parameters for name in (listed, *aliases.get(listed, ())))
    return Layer(name=layer.name, parameters=tuple(every))
