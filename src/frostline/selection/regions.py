"""Where a network itself says that its backbone ends and what its head is: by names, or by what it answers.

Three ways are known. timm's networks answer `get_classifier`. Hugging Face's name their base model, and what lies
outside it is new in every task. Networks in the manner of PaddleOCR and mmdetection call the parts by their names.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from frostline.errors import NetworkError, nearest
from frostline.selection.trace import Trace
from frostline.selection.units import GENERIC, count_weight_layers, is_below, is_weight_layer

BACKBONE, NECK_NAMES, HEAD_NAMES = "backbone", ("neck", "necks"), ("head", "heads")
# Heads by these names are found by where they run; the names count only where nothing ran.
CLASSIFIER_NAMES = ("classifier", "fc")


@dataclass(frozen=True, kw_only=True)
class Regions:
    """Dotted names of what a network says of itself; empty where it says nothing.

    Attributes:
        head: the modules that are the head, whatever is in them.
        neck: the modules with which the neck begins.
        backbone: the module that is the backbone; what runs behind it and before the head is the neck.
        opened: modules that are a frame around all this, and no layer.
        classifies: whether it answers what classifies: it has no neck, and where it names no head it has none.
        mixed: whether it reads pictures and texts.
    """

    head: tuple[str, ...] = ()
    neck: tuple[str, ...] = ()
    backbone: str | None = None
    opened: tuple[str, ...] = ()
    classifies: bool = False
    mixed: bool = False


def regions(model: nn.Module, trace: Trace, *, head: Sequence[str] = ()) -> Regions:
    """Read what a network says of its parts.

    Args:
        model: any network.
        trace: its forward pass.
        head: dotted names of the modules that classify, where the caller knows better than the network.

    Raises:
        NetworkError: there is no such module, or it has no parameters.
    """
    base = _base_model(model)
    level, children = _anatomy(model, base)
    backbone = level + BACKBONE if BACKBONE in children else None
    answer = _classifier(model)
    if head:
        heads = tuple(check_head(model, one) for one in head)
    elif answer is not None:
        heads = answer
    else:
        heads = _outside(model, base) or _named_head(model, trace, level, children)
    return Regions(
        head=_everywhere(model, heads),
        neck=tuple(level + name for name in NECK_NAMES if name in children),
        backbone=backbone,
        opened=tuple(name for name in (base, backbone) if name),
        classifies=answer is not None,
        mixed=_reads_texts(model, trace) and any(isinstance(module, nn.Conv2d) for module in trace.calls),
    )


def check_head(model: nn.Module, head: str) -> str:
    """Give back the name of a head if there is such a module, with parameters.

    Raises:
        NetworkError: there is none.
    """
    known = [name for name, module in model.named_modules() if name and next(module.parameters(), None) is not None]
    if head not in dict(model.named_modules(remove_duplicate=False)) or not head:
        raise NetworkError(
            f"head {head} of {type(model).__name__}",
            found=f"no such module; {nearest(head, known)}",
            do="give the dotted name of the module that classifies",
        )
    if next(model.get_submodule(head).parameters(), None) is None:
        raise NetworkError(
            f"head {head} of {type(model).__name__}",
            found=f"a {type(model.get_submodule(head)).__name__} without parameters",
            do=f"give a module that can be trained; {nearest(head, known)}",
        )
    return head


def _everywhere(model: nn.Module, names: tuple[str, ...]) -> tuple[str, ...]:
    """Add the other names of these modules: a decoder may hold the heads that the network holds, too."""
    inside = {inner for name in names for inner in model.get_submodule(name).modules() if count_weight_layers(inner)}
    every = model.named_modules(remove_duplicate=False)
    return (*names, *(name for name, module in every if module in inside and not is_below(name, names)))


def _anatomy(model: nn.Module, base: str | None) -> tuple[str, Mapping[str, nn.Module]]:
    """Find the level at which a network names its parts: that of its backbone, else the outermost with several.

    A backbone counts at the top, in the base model, and inside wrappers of a single part; deeper, the patch embedding
    of a hybrid transformer may be called so.
    """
    levels = [_unwrapped(model, "")] + ([_unwrapped(model.get_submodule(base), f"{base}.")] if base else [])
    return next((level for level in levels if BACKBONE in level[1]), levels[0])


def _unwrapped(module: nn.Module, prefix: str) -> tuple[str, Mapping[str, nn.Module]]:
    children = _with_parameters(module)
    while len(children) == 1 and not module._parameters and type(module) not in GENERIC:
        ((name, child),) = children.items()
        if name == BACKBONE or type(child) in GENERIC:
            break
        prefix, module = f"{prefix}{name}.", child
        children = _with_parameters(module)
    return prefix, children


def _with_parameters(module: nn.Module) -> dict[str, nn.Module]:
    return {name: child for name, child in module.named_children() if next(child.parameters(), None) is not None}


def _base_model(model: nn.Module) -> str | None:
    """Name the base model of a Hugging Face network: what its pretrained weights are of."""
    prefix = getattr(model, "base_model_prefix", None)
    if not isinstance(prefix, str) or not hasattr(model, "config") or prefix not in _with_parameters(model):
        return None
    return prefix


def _outside(model: nn.Module, base: str | None) -> tuple[str, ...]:
    if base is None:
        return ()
    return tuple(_innermost_head(name, part) for name, part in _with_parameters(model).items() if name != base)


def _classifier(model: nn.Module) -> tuple[str, ...] | None:
    """Name what a network of timm answers when asked for its classifier; None where it cannot be asked."""
    ask = getattr(model, "get_classifier", None)
    if not callable(ask):
        return None
    try:
        answer = ask()
    except Exception:  # a network that only looks like one of timm's
        return None
    modules = [answer] if isinstance(answer, nn.Module) else list(answer or ())
    return tuple(
        name
        for name, module in model.named_modules()
        if name and any(module is one for one in modules) and next(module.parameters(), None) is not None
    )


def _reads_texts(model: nn.Module, trace: Trace) -> bool:
    """Whether a network of Hugging Face looked up the words of a text, by what it answers when asked for them."""
    try:
        return isinstance(words := model.get_input_embeddings(), nn.Embedding) and words in trace.calls  # type: ignore[operator]
    except Exception:  # it cannot be asked, or has none
        return False


def _named_head(model: nn.Module, trace: Trace, level: str, children: Mapping[str, nn.Module]) -> tuple[str, ...]:
    """Name a child called head, beside the backbone or at the top; not where it is what the image meets first."""
    places = [(level, children)] + ([("", _with_parameters(model))] if level else [])
    named = [
        (prefix + name, within[name])
        for prefix, within in places
        for name in HEAD_NAMES
        if name in within and len(within) > 1 and not _runs_first(within[name], within, trace)
    ]
    if not named and not trace.calls:
        first = next(iter(children), "")
        if first in CLASSIFIER_NAMES and not _runs_first(children[first], children, trace):
            named = [(level + first, children[first])]
    return tuple(dict.fromkeys(_innermost_head(name, part) for name, part in named))


def _innermost_head(name: str, part: nn.Module) -> str:
    """Follow a head that has a child of that name: what is beside it comes before it, and is a neck."""
    if name.rpartition(".")[2] not in HEAD_NAMES:
        return name
    inner = [(child_name, child) for child_name, child in _with_parameters(part).items() if child_name in HEAD_NAMES]
    return _innermost_head(f"{name}.{inner[0][0]}", inner[0][1]) if len(inner) == 1 else name


def _runs_first(part: nn.Module, within: Mapping[str, nn.Module], trace: Trace) -> bool:
    """Whether it runs before all its siblings (super-resolution networks call their first layer a head)."""
    if not trace.calls:
        # Written first, it takes the input only if what is beside it does not look like what comes before a classifier.
        others_are_more = any(not isinstance(other, nn.Linear) for other in within.values() if other is not part)
        return next(iter(within.values())) is part and not (_is_linear(part) and others_are_more)
    orders = {
        id(child): min((trace.calls[inner].order for inner in child.modules() if inner in trace.calls), default=None)
        for child in within.values()
    }
    own = orders[id(part)]
    others: Iterator[int] = (order for key, order in orders.items() if key != id(part) and order is not None)
    return own is not None and own < min(others, default=-1)


def _is_linear(part: nn.Module) -> bool:
    """Whether its layers with weights are linear layers, one or more."""
    weighted = [inner for inner in part.modules() if is_weight_layer(inner)]
    return bool(weighted) and all(isinstance(inner, nn.Linear) for inner in weighted)
