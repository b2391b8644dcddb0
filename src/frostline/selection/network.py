"""Read the outline of a torch network: its stages, layers, parameters and modules, in the order they run."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from frostline.errors import NetworkError, first_of
from frostline.selection.adapters import adapted_layers, adapted_names, stages_with, trace_with, without_adapters
from frostline.selection.conventions import convention_of
from frostline.selection.inputs import ExampleInput
from frostline.selection.layer_list import by_layer_list, find_layer_list
from frostline.selection.parts import ModuleEntry, Outline, ParameterEntry, Role, Stage
from frostline.selection.published import by_publication
from frostline.selection.regions import regions
from frostline.selection.remarks import remarks_on_head, remarks_on_what_did_not_run
from frostline.selection.series import stage_series
from frostline.selection.stages import by_execution
from frostline.selection.trace import Trace, trace
from frostline.selection.units import unfold

# Networks that share whole modules tie tensors by the dozen; more notes than this nobody reads.
MOST_TIES = 5
_NORMS = (
    nn.modules.batchnorm._NormBase,  # BatchNorm and InstanceNorm in 1, 2 and 3 dimensions, SyncBatchNorm
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
)


def outline(
    model: nn.Module, *, example_input: ExampleInput | None = None, head: str | Sequence[str] | None = None
) -> Outline:
    """Read the ordered, named stages and layers of a network.

    Args:
        model: any network; it is left as it was.
        example_input: what its forward takes, one sample is enough: a tensor, a sequence of arguments or a mapping of
            keyword arguments. Needed only where the network's first layer does not tell.
        head: dotted name of the module that classifies, where it is more or another than the network says, or of
            several: all their parameters are the stage `head`.

    Returns:
        The outline. `source` says where the stage names come from; a network that could not be run is outlined in
        the order in which it was written, and `notes` says why.

    Raises:
        NetworkError: the network has no parameters, some that have no shape yet or that it does not list, or it is
            wrapped (DDP, torch.compile, the YOLO of ultralytics).
        NetworkError: there is no module `head`.

    >>> import torch
    >>> small = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    >>> _ = small(torch.zeros(1, 3, 8, 8))
    >>> outline(small, example_input=torch.zeros(1, 3, 8, 8)).stage_names
    ('stem', 'head')
    """
    _check_unwrapped(model)
    heads = (head,) if isinstance(head, str) else tuple(head or ())
    with without_adapters(model):
        named = _parameters(model)
        listed = find_layer_list(model)
        seen = trace(model, example_input)
        stages, source, notes = _stages(model, seen, named=named, head=heads, listed=listed)
        convention = convention_of(model)
    as_written = None
    if seen.failure is not None:
        as_written = f"no forward pass could be made ({seen.failure}), so modules stand in the order they are written"
        notes.insert(0, as_written)
    tied = [f"{entry.name} is tied to {', '.join(entry.aliases)}" for entry in named if entry.aliases]
    notes += tied if len(tied) <= MOST_TIES else [*tied[:MOST_TIES], f"{len(tied) - MOST_TIES} more tensors are tied"]
    layers = adapted_layers(model)
    return Outline(
        network=type(model).__name__,
        stages=stages_with(stages, layers) if layers else stages,
        parameters=_parameters(model) if layers else named,
        modules=_modules(model, trace_with(seen, layers)),
        source=source,
        notes=tuple(notes),
        frozen_stages=convention,
        as_written=as_written,
        adapted=adapted_names(model),
    )


def _stages(
    model: nn.Module, seen: Trace, *, named: Sequence[ParameterEntry], head: Sequence[str], listed: str | None
) -> tuple[tuple[Stage, ...], str, list[str]]:
    """Group into stages, the surest way first; say which way that was, and what a person might not expect of it."""
    said = regions(model, seen, head=head)
    if listed is not None:
        return by_layer_list(model, listed, seen, said), "the network's own list of layers (ultralytics)", []
    stages = by_publication(model, aliases={entry.name: entry.aliases for entry in named}, heads=said.head)
    if stages is not None:
        return stages, "the network's own group_matcher (timm)", []
    series = stage_series(model, seen, backbone=said.backbone)
    opened = (*said.opened, *said.head, *said.neck)
    units = unfold(
        model, seen, open_also=[name for name in opened if "." in name or name in said.opened], stages=series
    )
    stages = by_execution(units, regions=said, series=series)
    notes = [*remarks_on_head(model, stages, said), *remarks_on_what_did_not_run(units)]
    if series:
        return stages, f"the network's own stages ({series[0]} … {series[-1]})", notes
    halves = "the blocks of what reads pictures and texts" if said.mixed else "where the resolution halves"
    source = f"one forward pass: {halves}" if seen.calls else "the order it is written in"
    return stages, source, notes


def role_of(module: nn.Module) -> Role:
    """Say whether a module is a norm layer or drops at random; by its class, or by the name of its class."""
    if type(module).__module__ == "torch.nn.utils.parametrizations":
        return "other"  # weight_norm and spectral_norm shape a weight; they normalise no activations
    if isinstance(module, _NORMS):
        return "norm"
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return "dropout"
    if not module._modules:
        kind = type(module).__name__.lower()
        if "norm" in kind:
            return "norm"
        if "drop" in kind or "stochasticdepth" in kind:
            return "dropout"
    return "other"


def names_by_identity(named: Iterable[tuple[str, Tensor | nn.Module]]) -> list[tuple[str, ...]]:
    """Gather all names of each object, in the order the objects first appear."""
    names: dict[int, list[str]] = defaultdict(list)
    for name, thing in named:
        names[id(thing)].append(name)
    return [tuple(group) for group in names.values()]


def _check_unwrapped(model: nn.Module) -> None:
    """Refuse a wrapper: DDP and compiled code keep what they saw of `requires_grad` when they were made."""
    parallel = isinstance(model, (nn.parallel.DistributedDataParallel, nn.DataParallel))
    inside = "module" if parallel else "_orig_mod" if "_orig_mod" in model._modules else None
    if inside is not None:
        raise NetworkError(
            f"outline of {type(model).__name__}",
            found=f"a wrapper around {type(model.get_submodule(inside)).__name__}",
            do=f"give the network inside (`.{inside}`), and freeze it before it is wrapped",
        )


def _parameters(model: nn.Module) -> tuple[ParameterEntry, ...]:
    by_name = dict(model.named_parameters(remove_duplicate=False))
    if not by_name:
        raise NetworkError(
            f"outline of {type(model).__name__}", found="no parameters", do="give a network that has some"
        )
    tensors = {**by_name, **dict(model.named_buffers())}
    lazy = [name for name, tensor in tensors.items() if is_lazy(tensor)]
    if lazy:
        raise NetworkError(
            f"outline of {type(model).__name__}",
            found=f"tensors without a shape yet ({first_of(lazy, most=3)})",
            do="run one batch through the network first",
        )
    listed = {id(parameter) for parameter in by_name.values()}
    own = (parameter for module in model.modules() for parameter in module._parameters.values())
    hidden = sum(parameter is not None and id(parameter) not in listed for parameter in own)
    if hidden:
        raise NetworkError(
            f"outline of {type(model).__name__}",
            found=f"its own `named_parameters` leaves out {hidden} parameters, which could be neither held nor trained",
            do="give a network that lists all its parameters",
        )
    return tuple(
        ParameterEntry(name=names[0], shape=tuple(by_name[names[0]].shape), aliases=names[1:])
        for names in names_by_identity(by_name.items())
    )


def _modules(model: nn.Module, seen: Trace) -> tuple[ModuleEntry, ...]:
    by_name = dict(model.named_modules(remove_duplicate=False))
    listed = {id(parameter): name for name, parameter in reversed(list(model.named_parameters()))}
    order: dict[str, int] = {}
    entries = []
    for place, names in enumerate(names_by_identity(by_name.items())):
        name, module = names[0], by_name[names[0]]
        call = seen.calls.get(module)
        not_called = order.get(name.rpartition(".")[0], 0) if seen.calls else place
        order[name] = call.order if call is not None else not_called
        entries.append(
            ModuleEntry(
                name=name,
                kind=type(module).__name__,
                role=role_of(module),
                parameters=tuple(listed[id(p)] for p in module._parameters.values() if p is not None),
                buffers=tuple(f"{name}.{b}" if name else b for b, t in module._buffers.items() if t is not None),
                order=order[name],
                aliases=names[1:],
                ran=call is not None or not seen.calls,
            )
        )
    return tuple(entries)
