"""Parameter groups of a plan: each trained tensor in exactly one, norms and biases without weight decay."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from frostline.errors import PlanError, RatesError
from frostline.freezing import FreezePlan


def param_groups(
    model: nn.Module,
    plan: FreezePlan,
    *,
    lr: float,
    weight_decay: float | None = None,
    factors: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """Make the groups that an optimizer takes: what the plan trains, and nothing else.

    Args:
        model: the network that the plan was made for.
        plan: what is trained.
        lr: learning rate, multiplied by its factor in each group.
        weight_decay: of tensors with two and more dimensions; None: what the optimizer is given. Norms, biases and
            other vectors have none, nor has what the network itself names in `no_weight_decay()`, as timm's and
            Swin's do.
        factors: listed name of a parameter → what its rate is multiplied by; as `by_stage` and `by_depth` give them.
            None: 1 for all.

    Returns:
        Groups with `params`, `names`, `lr` and, where it is not left to the optimizer, `weight_decay`; one or two for
        each factor, the largest factor first.

    Raises:
        PlanError: a tensor that the plan trains is not in the network.
        RatesError: a tensor that is trained has no factor.

    >>> from frostline.freezing import freeze
    >>> net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> [group["names"] for group in param_groups(net, freeze(net, "all").plan, lr=0.1, weight_decay=0.01)]
    [['2.weight'], ['2.bias']]
    """
    named = dict(model.named_parameters())
    missing = sorted(plan.trained_names - named.keys())
    if missing:
        raise PlanError(
            "parameter groups", found=f"{missing[0]} is not in the network", do="use the network of the plan"
        )
    trained = [name for name in named if name in plan.trained_names]
    without = [name for name in trained if factors is not None and name not in factors]
    if without:
        raise RatesError(
            "parameter groups",
            found=f"{len(without)} trained tensors have no factor, such as {without[0]}",
            do="make the factors from this network's outline",
        )
    own = {} if weight_decay is None else {"weight_decay": weight_decay}
    plain = _without_decay(model, plan)
    groups: dict[tuple[float, bool], list[str]] = {}
    for name in trained:
        factor = 1.0 if factors is None else factors[name]
        groups.setdefault((factor, named[name].ndim > 1 and name not in plain), []).append(name)
    return [
        {
            "params": [named[name] for name in names],
            "names": names,
            "lr": lr * factor,
            **(own if decays else {"weight_decay": 0.0}),
        }
        for (factor, decays), names in sorted(groups.items(), reverse=True)
    ]


def _without_decay(model: nn.Module, plan: FreezePlan) -> set[str]:
    """Name what has no weight decay whatever its shape: norms, biases, and what the network itself says."""
    norms = {module.name for module in plan.modules if module.role == "norm"}
    found = {
        parameter.name
        for parameter in plan.parameters
        if parameter.name.rpartition(".")[0] in norms
        or parameter.name.rpartition(".")[2] == "bias"
        # Of adapters: factors that are 1 at first, and the lengths of weights.
        or ".ia3_l." in parameter.name
        or ".lora_magnitude_vector." in parameter.name
    }
    ask = getattr(model, "no_weight_decay", None)
    said = [str(pattern) for pattern in ask()] if callable(ask) else []
    return found | {
        parameter.name for parameter in plan.parameters if any(fnmatchcase(parameter.name, one) for one in said)
    }
