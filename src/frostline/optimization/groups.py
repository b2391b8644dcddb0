"""Parameter groups of a plan: each trained tensor in exactly one, norms and biases without weight decay."""

from typing import Any

from torch import nn

from frostline.errors import PlanError
from frostline.freezing import FreezePlan


def param_groups(model: nn.Module, plan: FreezePlan, *, lr: float, weight_decay: float = 0.0) -> list[dict[str, Any]]:
    """Make the groups that an optimizer takes: what the plan trains, and nothing else.

    Args:
        model: the network that the plan was made for.
        plan: what is trained.
        lr: learning rate of every group.
        weight_decay: of tensors with two and more dimensions; norms, biases and other vectors have none.

    Returns:
        One or two groups with `params`, `names`, `lr` and `weight_decay`.

    Raises:
        PlanError: a tensor that the plan trains is not in the network.

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
    decayed = [name for name in named if name in plan.trained_names and named[name].ndim > 1]
    plain = [name for name in named if name in plan.trained_names and named[name].ndim <= 1]
    groups = ((decayed, weight_decay), (plain, 0.0))
    return [
        {"params": [named[name] for name in names], "names": names, "lr": lr, "weight_decay": decay}
        for names, decay in groups
        if names
    ]
