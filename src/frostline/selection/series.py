"""Find the stages that a network publishes by how it is written: a list of stages, or children `layer1`, `layer2` ….

What counts is that each member holds a list of blocks, or is called a stage, and that the resolution shrinks along the
series. A list of equal blocks is no series of stages, nor is one whose members are mixtures of experts.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import nn

from frostline.selection.trace import Trace
from frostline.selection.units import GENERIC, count_weight_layers, is_below, is_weight_layer, positions

NUMBERED = re.compile(r"(?P<word>\D*?)_?(?P<number>\d+)")
STAGE_WORDS = ("stage", "stages")
# Positions after ÷ positions before: at most this, and the resolution has halved (a border lost to an unpadded
# convolution has not).
HALVED = 0.6


def stage_series(model: nn.Module, trace: Trace, *, backbone: str | None = None) -> tuple[str, ...]:
    """Name the modules that are the network's stages, in the order they run.

    Args:
        model: any network.
        trace: its forward pass; where there was none, the way it is written decides.
        backbone: the module in which the stages are, where the network names one.

    Returns:
        Dotted names, or none where the network publishes no series, or several of which none lies in the backbone.
    """
    found: list[dict[str, nn.Module]] = []
    for series in _candidates(model, trace):
        # The outermost counts: below a stage there are blocks.
        if not any(is_below(name, outer) for outer in found for name in series):
            found.append(series)
    inside = [series for series in found if backbone is not None and all(is_below(name, [backbone]) for name in series)]
    chosen = inside if len(inside) == 1 else found
    if len(chosen) != 1:
        return ()
    (series,) = chosen
    return tuple(sorted(series, key=lambda name: _order(series[name], trace)))


def _candidates(model: nn.Module, trace: Trace) -> Iterator[dict[str, nn.Module]]:
    """Yield every series of a network from the outside in: dotted name → member."""
    for prefix, module in model.named_modules():
        stem = f"{prefix}." if prefix else ""
        children = {stem + name: child for name, child in module.named_children() if count_weight_layers(child)}
        if type(module) in GENERIC:
            called_stages = prefix.rpartition(".")[2] in STAGE_WORDS
            if called_stages or all(map(_holds_blocks, children.values())):
                yield from _checked(children, trace, sure=called_stages)
        by_word: dict[str, dict[str, nn.Module]] = {}
        for name, child in children.items():
            numbered = NUMBERED.fullmatch(name.removeprefix(stem))
            if numbered and numbered["word"]:
                by_word.setdefault(numbered["word"], {})[name] = child
        for word, series in by_word.items():
            if stem + word in children:  # `repeat`, `repeat_1`, `repeat_2`
                series = {stem + word: children[stem + word], **series}
            members = series.values()
            if word in STAGE_WORDS or all(isinstance(m, GENERIC) or _holds_blocks(m) for m in members):
                # Numbered lists of blocks are stages also where they halve nothing (dilated, or cut short).
                lists = all(isinstance(m, GENERIC) and _holds_blocks(m) for m in members)
                yield from _checked(series, trace, sure=lists or word in STAGE_WORDS)


def _checked(series: dict[str, nn.Module], trace: Trace, *, sure: bool) -> Iterator[dict[str, nn.Module]]:
    """Yield the series if it is one: two members and more, something with weights before it, and it shrinks.

    One that is sure by its name need not shrink, but must not grow: a decoder has stages too.
    """
    if len(series) < 2:
        return
    ran = [member for member in series.values() if _order(member, trace) >= 0]
    if trace.calls and len(ran) == len(series):
        ran.sort(key=lambda member: _order(member, trace))
        sizes = [size for member in ran if (size := _positions(member, trace)) is not None and size > 1]
        halved = sum(later <= HALVED * earlier for earlier, later in pairwise(sizes))
        grows = bool(sizes) and sizes[-1] > sizes[0]
        # Where most members halve nothing they are blocks, however much is in them (Xception).
        fits = not grows if sure else not grows and halved > 0 and 2 * halved >= len(ran) - 1
        if fits and _is_preceded(ran[0], trace):
            yield series
    elif sure or all(_holds_blocks(member) for member in series.values()):
        yield series


def _holds_blocks(module: nn.Module) -> bool:
    """Whether it is, or directly holds, a list at least half of which are blocks, all of one class."""
    lists = [module, *module.children()]
    return any(isinstance(part, GENERIC) and _is_list_of_blocks(part) for part in lists)


def _is_list_of_blocks(container: nn.Module) -> bool:
    parts = [child for child in container.children() if count_weight_layers(child)]
    blocks = [part for part in parts if type(part) not in GENERIC and count_weight_layers(part) > 1]
    return len({type(block) for block in blocks}) == 1 and 2 * len(blocks) >= len(parts)


def _is_preceded(first: nn.Module, trace: Trace) -> bool:
    """Whether a layer with weights ran before it: without a stem a series is no backbone's."""
    order = _order(first, trace)
    inside = set(first.modules())
    return any(
        is_weight_layer(module) and call.order < order and module not in inside for module, call in trace.calls.items()
    )


def _order(module: nn.Module, trace: Trace) -> int:
    """Give the place of its first call; a ModuleList is not called itself, so the first call inside counts."""
    orders = [trace.calls[inner].order for inner in module.modules() if inner in trace.calls]
    return min(orders, default=-1)


def _positions(module: nn.Module, trace: Trace) -> int | None:
    if module in trace.calls:
        return positions(module, trace.calls[module])
    called: Sequence[nn.Module] = [child for child in module.children() if child in trace.calls]
    return positions(called[-1], trace.calls[called[-1]]) if called else None
