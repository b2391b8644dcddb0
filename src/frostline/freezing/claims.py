"""The claims that are read off a network at rest: requires_grad, optimizer, modes, digests, agreement of processes."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

from frostline.freezing.digests import combined, digests, named_tensors
from frostline.freezing.plan import FreezePlan
from frostline.record import Claim, Json
from frostline.selection import undisturbed

Loss = Callable[[nn.Module, Any], Tensor]
SHOWN = 5
DIGESTS = "held tensors did not move"


def requires_grad_claim(model: nn.Module, plan: FreezePlan) -> Claim:
    """Claim 1: `requires_grad` is what the plan says, for every name of every tensor."""
    expected = {
        name: not parameter.held for parameter in plan.parameters for name in (parameter.name, *parameter.aliases)
    }
    tensors = dict(model.named_parameters(remove_duplicate=False))
    found = {name: parameter.requires_grad for name, parameter in tensors.items()}
    wrong = sorted(
        [f"{name} is gone" for name in expected.keys() - found.keys()]
        + [f"{name} is new" for name in found.keys() - expected.keys()]
        + [
            f"{name} is {'held' if not expected[name] else 'trained'} by the plan, and requires_grad is {found[name]}"
            for name in expected.keys() & found.keys()
            if expected[name] != found[name]
        ]
        + [
            f"{alias} is no longer the tensor {parameter.name}"
            for parameter in plan.parameters
            for alias in parameter.aliases
            if tensors.get(alias) is not tensors.get(parameter.name)
        ]
    )
    names = f"{len(expected)} names, {sum(not train for train in expected.values())} of them held"
    return claim("requires_grad is as planned", wrong, f"{names}: all as planned", {"names": len(expected)})


def optimizer_claim(
    model: nn.Module, plan: FreezePlan, *, optimizer: torch.optim.Optimizer | None, scheduler: Any = None
) -> Claim:
    """Claim 2: every trained tensor is in the optimizer once, by identity, with a scheduler slot; no held one is.

    Identity, not value: two tensors that are equal are still two, and one that was replaced is another.
    """
    name = "the optimizer has exactly what is trained"
    if optimizer is None:
        return not_applicable(name, "no optimizer was given")
    by_id = {id(parameter): parameter_name for parameter_name, parameter in model.named_parameters()}
    inside = Counter(id(parameter) for group in optimizer.param_groups for parameter in group["params"])
    wrong = [
        f"{n} is trained and not in the optimizer"
        for i, n in by_id.items()
        if n in plan.trained_names and not inside[i]
    ]
    wrong += [f"{n} is in the optimizer {inside[i]} times" for i, n in by_id.items() if inside[i] > 1]
    wrong += [f"{n} is held and in the optimizer" for i, n in by_id.items() if n in plan.held_names and inside[i]]
    with_state = {id(parameter) for parameter in optimizer.state}
    wrong += [
        f"{n} is held and the optimizer keeps state for it"
        for i, n in by_id.items()
        if n in plan.held_names & _names(by_id, with_state)
    ]
    strangers = sum(count for identity, count in inside.items() if identity not in by_id)
    if strangers:
        wrong.append(f"{strangers} tensors in the optimizer are not (or no longer) in the network")
    groups = len(optimizer.param_groups)
    wrong += [f"the scheduler has {slots} slots for {groups} groups" for slots in _slots(scheduler) if slots != groups]
    summary = (
        f"{len(plan.trained_names)} trained tensors in {groups} groups, each once; no held tensor, no state of one"
    )
    return claim(name, wrong, summary, {"groups": groups, "tensors": sum(inside.values())})


def _slots(scheduler: Any) -> Iterator[int]:
    """Count the rates that a scheduler keeps; SequentialLR and ChainedScheduler keep them in their parts."""
    rates = getattr(scheduler, "base_lrs", None)
    if rates is not None:
        yield len(rates)
    for part in getattr(scheduler, "_schedulers", ()):
        yield from _slots(part)


def _names(by_id: Mapping[int, str], identities: Iterable[int]) -> set[str]:
    return {by_id[identity] for identity in identities if identity in by_id}


def modes_claim(model: nn.Module, plan: FreezePlan) -> Claim:
    """Claim 3: held modules are in eval, and still are after `model.train()`."""
    name = "held modules stay in eval"
    kept = [module.name for module in plan.modules if module.evaluates]
    if not plan.held_names:
        return not_applicable(name, "nothing is held")
    there = dict(model.named_modules())
    wrong = [f"{module} is gone" for module in kept if module not in there]
    present = [module for module in kept if module in there]
    wrong += [f"{module} is in train mode" for module in present if there[module].training]
    stay = in_eval_after_train(model, present)
    wrong += [f"{module} goes to train mode with model.train()" for module in present if module not in stay]
    norms = sum(module.role == "norm" and module.evaluates for module in plan.modules)
    by_choice = sum(
        module.role == "norm" and module.state == "held" and not module.evaluates for module in plan.modules
    )
    summary = f"{len(kept)} held modules in eval before and after .train(), {norms} norm layers among them"
    if by_choice:
        summary += f"; {by_choice} norm layers of held parts are in train mode by choice (norm: train)"
    return claim(name, wrong, summary, {"modules": len(kept), "norm_eval": norms, "norm_train_by_choice": by_choice})


def in_eval_after_train(model: nn.Module, names: Iterable[str]) -> set[str]:
    """Say which of the named modules are in eval after `model.train()`; the network is left as it was."""
    there = dict(model.named_modules())
    with undisturbed(model):
        model.train()
        return {name for name in names if name in there and not there[name].training}


def digests_claim(model: nn.Module, plan: FreezePlan, *, before: Mapping[str, str]) -> Claim:
    """Claim 6: every held parameter and buffer has the bits it had when the plan was applied."""
    if not before:
        return not_applicable(DIGESTS, "nothing is held")
    now = digests(model, before)
    wrong = [f"{tensor} {'moved' if now[tensor] else 'is gone'}" for tensor in before if now[tensor] != before[tensor]]
    buffers = len(before) - len(plan.held_names)
    left_out = sum(len(module.buffers) for module in plan.modules if module.state == "held" and not module.evaluates)
    summary = f"{len(plan.held_names)} parameters and {buffers} buffers have the same SHA-256 before and after"
    if left_out:
        summary += f"; {left_out} buffers of held norm layers may move by choice (norm: train)"
    return claim(DIGESTS, wrong, summary, {"tensors": len(before), "before": combined(before), "after": combined(now)})


def processes_claim(model: nn.Module, plan: FreezePlan) -> Claim:
    """Claim 8: every trained tensor has the same digest in every process; sharded tensors are gathered first."""
    name = "all processes have the same weights"
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return not_applicable(name, "one process")
    mine = digests(model, sorted(plan.trained_names))
    every: list[dict[str, str]] = [{} for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(every, mine)
    names = sorted({tensor for theirs in every for tensor in theirs})
    wrong = [
        f"{tensor} differs between processes" for tensor in names if len({theirs.get(tensor) for theirs in every}) > 1
    ]
    tensors = named_tensors(model)
    parts = sum(hasattr(tensors[tensor], "full_tensor") for tensor in mine if tensor in tensors)
    gathered = f", {parts} of them gathered from their parts" if parts else ""
    summary = f"{len(mine)} trained tensors are equal in {len(every)} processes{gathered}"
    return claim(name, wrong, summary, {"processes": len(every), "digests": [combined(theirs) for theirs in every]})


def claim(name: str, wrong: Sequence[str], summary: str, evidence: Json | None = None) -> Claim:
    """Make a claim that holds with a summary, or fails with what is wrong (the first few named, all counted)."""
    if not wrong:
        return Claim(name=name, status="holds", evidence={"summary": summary, **(evidence or {})})
    more = f" … ({len(wrong)} in all)" if len(wrong) > SHOWN else ""
    return Claim(
        name=name,
        status="fails",
        evidence={**(evidence or {}), "summary": "; ".join(wrong[:SHOWN]) + more, "wrong": list(wrong)},
    )


def not_applicable(name: str, reason: str) -> Claim:
    """Make a claim that does not apply, with the reason."""
    return Claim(name=name, status="not applicable", evidence={"summary": reason})
