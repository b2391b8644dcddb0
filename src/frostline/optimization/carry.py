"""Optimizer state from plan to plan: what is trained on keeps its momentum, what is thawed begins without."""

import torch
from torch import Tensor


def carry_state(before: torch.optim.Optimizer, after: torch.optim.Optimizer) -> list[str]:
    """Give a new optimizer what an earlier one of the same kind knew of the parameters that both have.

    Args:
        before: of the phase that is over; it is left as it is.
        after: of the phase that begins; its state is written.

    Returns:
        Names of the parameters whose state was carried, as the groups have them.

    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> first = torch.optim.SGD([{"params": [weight], "names": ["weight"]}], lr=0.1, momentum=0.9)
    >>> weight.grad = torch.ones(2)
    >>> first.step()
    >>> second = torch.optim.SGD([{"params": [weight], "names": ["weight"]}], lr=0.01, momentum=0.9)
    >>> carry_state(first, second), second.state[weight]["momentum_buffer"]
    (['weight'], tensor([1., 1.]))
    """
    if type(before) is not type(after):
        return []
    names = {
        parameter: name
        for group in after.param_groups
        for parameter, name in zip(
            group["params"], group.get("names", map(str, range(len(group["params"])))), strict=False
        )
    }
    carried = []
    for parameter, name in names.items():
        if parameter in before.state:
            after.state[parameter] = {
                key: value.clone() if isinstance(value, Tensor) else value
                for key, value in before.state[parameter].items()
            }
            carried.append(name)
    return carried
