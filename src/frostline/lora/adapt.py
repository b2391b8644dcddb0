"""Put adapters into the layers that a selector picks; the network computes what it did until they are trained."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from frostline.errors import SelectorError, UserError
from frostline.freezing import check_free
from frostline.lora.kinds import KINDS, NAME, Kind, library, peft_config
from frostline.lora.targets import targets
from frostline.selection import INSIDE, ExampleInput, adapted_layers, bare, outline, parse_call

_HALVES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, kw_only=True)
class Adapters:
    """The adapters of a network.

    Attributes:
        kind: `lora`, `dora` or `ia3`.
        rank: of the two small matrices of each.
        layers: dotted names of the layers that have one.
        added: number of elements of all adapters.
        total: number of elements of the network with them.
        notes: what a person should be told.
    """

    kind: Kind
    rank: int
    layers: tuple[str, ...]
    added: int
    total: int
    notes: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """The adapters' share of the network's parameters, of 1."""
        return self.added / self.total

    @property
    def line(self) -> str:
        """One line that a person can quote."""
        rank = "" if self.kind == "ia3" else f" of rank {self.rank}"
        what = "1 layer" if len(self.layers) == 1 else f"{len(self.layers)} layers"
        return (
            f"{self.kind}{rank} in {what}: {self.added:,} parameters, {self.share:.2%} of the network's {self.total:,}"
        )


def adapt(
    model: nn.Module,
    words: str | None = None,
    *,
    rank: int = 8,
    alpha: float | None = None,
    dropout: float = 0.0,
    kind: Kind = "lora",
    example_input: ExampleInput | None = None,
    head: str | Sequence[str] | None = None,
    **selector: Any,
) -> Adapters:
    """Put adapters into a network: small matrices beside the layers that are picked, which are trained in their place.

    Adapters are trained whatever is held, so that `freeze(model, "all")` then trains adapters and head alone. Call it
    before `freeze`, and before the optimizer is made.

    Args:
        model: any network, changed in place. It computes what it did before: one of the two matrices is zero at first.
            Adapters are in float32 where it is in half precision.
        words: where: `all` (everything but the head), `backbone`, or one of the keywords below; as in `freeze`. All
            linear layers and convolutions over images there get an adapter, but for convolutions in groups, dilated
            ones and those that pad with other numbers than zero, layers that share their weights with others, and
            those from which nothing comes that the network gives; the notes say so.
        rank: of the two matrices; the smaller, the fewer parameters.
        alpha: what they give is multiplied by alpha / rank; None: twice the rank.
        dropout: of what goes into them, a share of 1.
        kind: `lora` (Hu et al. 2021), `dora` (a magnitude beside it, Liu et al. 2024) or `ia3` (one factor for each
            output and no matrices, Liu et al. 2022).
        example_input: what the network's forward takes, where its first layer does not tell.
        head: dotted name of the module that classifies, where it is more than the last layer, or of several.
        **selector: one of `through`, `first`, `match`, `frozen_stages`: `match` names the layers themselves, as in
            `match=["*.q_proj", "*.v_proj"]`.

    Returns:
        What was put where.

    Raises:
        SelectorError: the words pick nothing, something that is not there, or no layer that takes an adapter.
        PlanError: a plan is in force on this network.
        UserError: the network has adapters already; or rank, alpha, dropout or kind cannot be.

    >>> from frostline.freezing import freeze
    >>> net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    >>> adapt(net, "all", rank=2).line
    "lora of rank 2 in 1 layer: 256 parameters, 5.63% of the network's 4,546"
    >>> sorted(freeze(net, "all").plan.trained_names)
    ['0.lora_A.default.weight', '0.lora_B.default.weight', '2.bias', '2.weight']
    """
    try:
        asked = parse_call("all" if words is None and not selector else words, selector)
    except SelectorError as error:
        there = error.asked.replace("freeze:", "adapters in", 1)
        raise SelectorError(there, found=error.found, do=error.do) from None
    _check(kind=kind, rank=rank, alpha=alpha, dropout=dropout)
    check_free(model, f"adapters in {asked}")
    if found := adapted_layers(model):
        raise UserError(
            f"adapters in {asked}", found=f"{len(found)} layers have adapters already", do="merge them first"
        )
    read = outline(model, example_input=example_input, head=head)
    layers, notes = targets(model, read, asked, kind=kind, example_input=example_input)
    return replace(adapt_layers(model, layers, rank=rank, alpha=alpha, dropout=dropout, kind=kind), notes=tuple(notes))


def adapt_layers(
    model: nn.Module,
    layers: Sequence[str],
    *,
    rank: int = 8,
    alpha: float | None = None,
    dropout: float = 0.0,
    kind: Kind = "lora",
) -> Adapters:
    """Put adapters into layers that are known by name, as those of a network that is built anew are.

    Args:
        model: changed in place.
        layers: dotted names.
        rank: as for `adapt`.
        alpha: as for `adapt`.
        dropout: as for `adapt`.
        kind: as for `adapt`.
    """
    before = {id(parameter) for parameter in model.parameters()}
    scale = 2.0 * rank if alpha is None else alpha
    put_in(model, peft_config(kind, layers, rank=rank, alpha=scale, dropout=dropout))
    return Adapters(
        kind=kind,
        rank=rank,
        layers=tuple(layers),
        added=sum(parameter.numel() for parameter in model.parameters() if id(parameter) not in before),
        total=sum(parameter.numel() for parameter in model.parameters()),
    )


def take_out(model: nn.Module) -> None:
    """Take the adapters out of a network, with all that they have learned."""
    for name, (layer, _) in adapted_layers(model).items():
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, bare(layer))
    model.__dict__.pop("peft_config", None)


def lay_out_adapters(model: nn.Module) -> None:
    """Let the matrices of adapters lie in memory as they are written, where a network was laid out channels last.

    PEFT's DoRA takes views of them, which fail otherwise.
    """
    for layer, _ in adapted_layers(model).values():
        for name, parameter in layer.named_parameters():
            if not name.startswith(f"{INSIDE}."):
                parameter.data = parameter.data.contiguous()


def _check(*, kind: str, rank: int, alpha: float | None, dropout: float) -> None:
    """Refuse numbers that cannot be."""
    if kind not in KINDS:
        raise UserError(f"adapters: {kind}", found="no such kind", do=f"write {', '.join(KINDS)}")
    if rank < 1:
        raise UserError(f"adapters of rank {rank}", found="no matrix has that rank", do="write 1 or more, such as 8")
    if alpha is not None and alpha <= 0:
        raise UserError(f"adapters with alpha {alpha:g}", found="it would undo them", do="write a number above 0")
    if not 0 <= dropout < 1:
        raise UserError(f"adapters with dropout {dropout:g}", found="it is a share", do="write 0 or more, below 1")


def put_in(model: nn.Module, config: Any, *, like: Mapping[str, Tensor] | None = None) -> None:
    """Let PEFT put adapters in; what the user had frozen, and what not, stays so: a plan decides that.

    Args:
        model: changed in place, or left as it was where that fails.
        config: PEFT's.
        like: adapters by name, of the layers that get one; None: as the configuration says.
    """
    before = {id(parameter): parameter.requires_grad for parameter in model.parameters()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about names of classes
            library().inject_adapter_in_model(config, model, adapter_name=NAME, state_dict=like)
    except Exception:
        take_out(model)
        for parameter in model.parameters():
            parameter.requires_grad_(before.get(id(parameter), True))
        raise
    for parameter in model.parameters():
        if id(parameter) not in before and parameter.dtype in _HALVES:
            # Steps of a usual size are lost in their rounding; PEFT's own networks have it so, too.
            parameter.data = parameter.data.float()
        parameter.requires_grad_(before.get(id(parameter), True))
    for layer, _ in adapted_layers(model).values():
        layer.train(bare(layer).training)
