"""Hold a selector against an outline: which parameters are held, and why each is held or trained."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from frostline.errors import SelectorError, nearest
from frostline.selection.frozen_stages import frozen_stages, numbered_stages
from frostline.selection.parts import BIASES, HEAD, INSIDE, NECK, NORMS, Outline, parents_of
from frostline.selection.selector import Selector

# Adapters are trained whatever is held, so that all else may be held.
_ALL_HELD = '; `match: ["*"]` holds all but the adapters'


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What a selector means on one network: the held parameters (listed names), and what a person should be told."""

    held: frozenset[str]
    notes: tuple[str, ...] = ()


def resolve(outline: Outline, selector: Selector, *, strict: bool = False) -> Resolution:
    """Say which parameters of a network a selector holds.

    Args:
        outline: the network's stages, layers and parameters.
        selector: the parsed words.
        strict: make an error of what is otherwise only noted: fewer stages than `frozen_stages` asks for, and words
            that go by an order of layers of which only the written one is known.

    Returns:
        The held parameters; all others are trained.

    Raises:
        SelectorError: nothing matches, a stage or layer is out of range, everything would be held, or the names of
            one tied or shared tensor would be held and trained at once.
    """
    picked, notes = pick(outline, selector)
    picked -= outline.adapters  # they are there to be trained, whatever is held
    if strict and selector.kind == "frozen_stages":
        _check_stage_count(outline, selector)
    if outline.as_written is not None and _goes_by_order(outline, selector):
        if strict:
            raise SelectorError(
                f"freeze: {selector}",
                found=outline.as_written,
                do="give an `example_input`, or name modules with `match` or `train`",
            )
        notes.append(outline.as_written)
    held = set()
    for entry in outline.parameters:
        inside = [name for name in entry.names if name in picked]
        if inside and len(inside) < len(entry.names):
            outside = next(name for name in entry.names if name not in picked)
            raise SelectorError(
                f"freeze: {selector}",
                found=f"{inside[0]} and {outside} are one tensor, and one would be held while the other is trained",
                do=f"hold both or train both{_ALL_HELD if outline.adapted else ''}",
            )
        if inside:
            held.add(entry.name)
    if len(held) == len(outline.parameters):
        raise SelectorError(
            f"freeze: {selector}",
            found=f"everything would be frozen ({len(held)} of {len(held)} tensors), so nothing could be trained",
            do=f"leave something to train; the stages are {', '.join(outline.stage_names)}",
        )
    return Resolution(held=frozenset(held), notes=tuple(notes))


def _goes_by_order(outline: Outline, selector: Selector) -> bool:
    """Whether what is held depends on the order of layers: not where modules are named, and not for `none`."""
    if isinstance(selector.value, tuple):
        return any(
            {name for stage in outline if stage.name == glob for name in stage.parameters} != _subtrees(outline, glob)
            for glob in selector.value
            if glob in outline.stage_names
        )
    return selector.kind != "none"


Picked = tuple[set[str], list[str]]


def pick(outline: Outline, selector: Selector) -> Picked:
    """Name the parameters that words pick, aliases included, and say what a person should be told.

    Raises:
        SelectorError: nothing matches, or a stage or layer is out of range.
    """
    return _KINDS[selector.kind](outline, selector)


def _all(outline: Outline, selector: Selector) -> Picked:
    return _stages_but(outline, selector, {HEAD}), []


def _backbone(outline: Outline, selector: Selector) -> Picked:
    return _stages_but(outline, selector, {NECK, HEAD}), []


def _none(outline: Outline, selector: Selector) -> Picked:
    return set(), []


def _stages_but(outline: Outline, selector: Selector, trained: set[str]) -> set[str]:
    if HEAD not in outline.stage_names and not outline.adapted:
        raise SelectorError(
            f"freeze: {selector}",
            found=f"{outline.network} has no head, so nothing would be trained",
            do=f"name a stage (`through: {outline.stage_names[0]}`); there is {', '.join(outline.stage_names)}",
        )
    picked = {name for stage in outline if stage.name not in trained for name in stage.parameters}
    if not picked:
        raise SelectorError(
            f"freeze: {selector}",
            found=f"{outline.network} is nothing but {' and '.join(outline.stage_names)}, so nothing would be held",
            do="write `none`, or name what to hold with `match`",
        )
    return picked


def _through(outline: Outline, selector: Selector) -> Picked:
    wanted = str(selector.value)
    names = outline.stage_names
    if wanted not in names:
        raise SelectorError(
            f"freeze: {selector}",
            found=f"{outline.network} has no stage {wanted}; {_where(outline, wanted) or nearest(wanted, names)}",
            do=f"name one of {', '.join(names)}",
        )
    until = names.index(wanted) + 1
    return {name for stage in outline.stages[:until] for name in stage.parameters}, []


def _where(outline: Outline, module: str) -> str | None:
    """Say in which stages a module lies, for someone who named a module and not a stage."""
    stages = dict.fromkeys(
        stage for name, stage in outline.stage_by_parameter.items() if name == module or name.startswith(f"{module}.")
    )
    return f"the module {module} is in {' and '.join(stages)}" if stages else None


def _first(outline: Outline, selector: Selector) -> Picked:
    layers = outline.layers[: _in_range(outline, selector)]
    return {name for layer in layers for name in layer.parameters}, []


def _train_first(outline: Outline, selector: Selector) -> Picked:
    layers = outline.layers[_in_range(outline, selector) :]
    picked = {name for layer in layers for name in layer.parameters}
    head = {name for stage in outline if stage.name == HEAD for name in stage.parameters}
    notes = ["the head is held too: if it is new, it keeps its random weights"] if head and head <= picked else []
    return picked, notes


def _in_range(outline: Outline, selector: Selector) -> int:
    count = int(str(selector.value))
    total = len(outline.layers)
    if count > total:
        raise SelectorError(
            f"freeze: {selector}",
            found=f"{outline.network} has {total} layers",
            do=f"give a number up to {total}; `frostline outline` prints them",
        )
    return count


def _match(outline: Outline, selector: Selector) -> Picked:
    return _globbed(outline, selector)


def _train(outline: Outline, selector: Selector) -> Picked:
    trained, notes = _globbed(outline, selector)
    return {name for entry in outline.parameters for name in entry.names} - trained, notes


def _globbed(outline: Outline, selector: Selector) -> Picked:
    globs = selector.value if isinstance(selector.value, tuple) else ()
    picked: set[str] = set()
    notes = []
    for glob in globs:
        if glob in outline.stage_names:
            found = {name for stage in outline if stage.name == glob for name in stage.parameters}
            subtree = _subtrees(outline, glob)
            if subtree and subtree != found:
                notes.append(f"`{glob}` is the stage; the module of that name is more or less: write `{glob}.*` for it")
        else:
            found = _subtrees(outline, glob) or _everywhere(outline, glob)
        if not found:
            known = nearest(glob, [*outline.stage_names, *_prefixes(outline.entries)])
            raise SelectorError(
                f"freeze: {selector}",
                found=f"`{glob}` matches no parameter of {outline.network}; {known}",
                do="globs are dotted names from the root, `*` stands for any text, `norms` and `biases` for all of "
                "them; `frostline outline` prints the names",
            )
        if found <= outline.adapters:
            raise SelectorError(
                f"freeze: {selector}",
                found=f"`{glob}` names adapters alone, which are trained whatever is held",
                do="switch off their `requires_grad` beforehand to hold them",
            )
        picked |= found
    return picked, notes


def _subtrees(outline: Outline, glob: str) -> set[str]:
    """Match a glob on dotted names of modules and parameters, and take what lies below: `layer1` is not `layer10`."""
    return {
        name
        for name in outline.entries
        # A name is itself, whatever characters it is made of; a key of a ParameterDict may hold brackets.
        if any(prefix == glob or fnmatchcase(prefix, glob) for prefix in _prefixes([name]))
    }


def _everywhere(outline: Outline, word: str) -> set[str]:
    """Give what a word among globs stands for in every stage: all norm layers, or all biases; else nothing."""
    if word == NORMS:
        norms = {name for module in outline.modules if module.role == "norm" for name in module.parameters}
        return {name for one in norms for name in outline.entries[one].names}
    if word == BIASES:
        return {name for name in outline.entries if _is_bias(name.rpartition(".")[2])}
    return set()


def _is_bias(own: str) -> bool:
    """Whether a parameter is a bias by its name: attention and recurrent layers of torch have several."""
    return own == "bias" or own.endswith("_bias") or own.startswith("bias_")


def _prefixes(names: Iterable[str]) -> Iterable[str]:
    for name in names:
        yield from (*parents_of(name)[1:], name)
        if f".{INSIDE}." in name:
            yield name.replace(f".{INSIDE}.", ".")  # what it is called where there are no adapters


def _frozen_stages(outline: Outline, selector: Selector) -> Picked:
    number = int(str(selector.value))
    meant = frozen_stages(outline, number)
    layers = ", ".join(layer.name for stage in meant.stages for layer in stage.layers) or "nothing"
    notes = [f"frozen_stages: {number} counts as {outline.frozen_stages} does ({meant.meaning}); holds {layers}"]
    if meant.missing:
        notes.append(
            f"frozen_stages: {number} asks for more than the {len(numbered_stages(outline))} stages of "
            f"{outline.network}: {', '.join(stage.name for stage in meant.stages) or 'none'} are held"
        )
    return {name for stage in meant.stages for name in stage.parameters}, notes


def _check_stage_count(outline: Outline, selector: Selector) -> None:
    number = int(str(selector.value))
    missing = frozen_stages(outline, number).missing
    if missing:
        raise SelectorError(
            f"freeze: {selector}",
            found=f"{outline.network} has {len(numbered_stages(outline))} stages after its stem",
            do=f"give a number from -1 to {number - missing}",
        )


_KINDS: dict[str, Callable[[Outline, Selector], Picked]] = {
    "all": _all,
    "backbone": _backbone,
    "none": _none,
    "through": _through,
    "first": _first,
    "train_first": _train_first,
    "match": _match,
    "train": _train,
    "frozen_stages": _frozen_stages,
}
