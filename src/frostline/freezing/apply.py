"""Apply a plan to a network and lift it again: requires_grad, modes, gradients; nothing else is touched."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from weakref import WeakSet

import torch
from torch import Tensor, nn

from frostline.errors import PlanError
from frostline.freezing.digests import digests, named_tensors
from frostline.freezing.modes import forget_cached, is_kept_in_eval, keep_in_eval, release
from frostline.freezing.plan import FreezePlan, NormMode, make_plan
from frostline.freezing.wrappers import retire, wrappers_of
from frostline.selection import ExampleInput, outline, parse_call

# A plan that keeps no whole module in eval leaves no mark on any module, so the network itself is remembered.
_UNDER_A_PLAN: WeakSet[nn.Module] = WeakSet()


@dataclass(kw_only=True, eq=False)
class PlanHandle:
    """A plan in force on a network, with what is needed to lift it and to prove that it held.

    As a context manager it lifts the plan at the end of the block.

    Attributes:
        model: the network.
        plan: what is in force.
        before: digests of every held parameter and buffer, taken when the plan was applied.
        beside: digests of buffers on modules that are held in part only; if they move, the proof warns.
    """

    model: nn.Module
    plan: FreezePlan
    before: Mapping[str, str]
    beside: Mapping[str, str]
    _requires_grad: dict[nn.Parameter, bool] = field(repr=False)
    _gradients: dict[nn.Parameter, Tensor] = field(repr=False)
    _modes: dict[nn.Module, bool] = field(repr=False)
    lifted: bool = False
    _then: list[Callable[[], None]] = field(default_factory=list, repr=False)

    def on_lift(self, act: Callable[[], None]) -> None:
        """Have something done when the plan is lifted, before anything else."""
        self._then.append(act)

    def unmoved(self) -> frozenset[str]:
        """Name all that has not moved under the plan: what it holds, and buffers beside that which are as they were."""
        now = digests(self.model, self.beside)
        return self.plan.held_everywhere | {name for name in now if now[name] == self.beside[name]}

    def lift(self) -> None:
        """Give back exactly the state before the plan, also what was frozen beforehand. Lifting twice is harmless.

        Values are left as they are: what was trained stays trained.
        """
        if self.lifted:
            return
        while self._then:
            self._then.pop()()
        _switch(self.model, self._requires_grad, because=f"freeze: {self.plan.selector} was lifted")
        for parameter, gradient in self._gradients.items():
            # The network may be on another device by now, or of another type.
            parameter.grad = gradient.to(parameter.device, parameter.dtype)
        for module, training in self._modes.items():
            release(module)
            module.training = training
        _UNDER_A_PLAN.discard(self.model)
        self.lifted = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.lift()


def freeze(
    model: nn.Module,
    words: str | None = None,
    *,
    norm: NormMode = "eval",
    strict: bool = False,
    example_input: ExampleInput | None = None,
    head: str | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    **selector: Any,
) -> PlanHandle:
    """Hold a part of a network: say in one line what stays frozen.

    Call it before the optimizer is made, or give the optimizer, and what is held leaves it.

    Args:
        model: any network.
        words: `all` (everything but the head), `backbone` (neck and head train) or `none`.
        norm: what norm layers of held parts do: stay in eval, or keep their statistics moving (`train`).
        strict: make an error of what is otherwise only noted: fewer stages than `frozen_stages` asks for, and words
            that go by the order of layers where no forward pass could tell it.
        example_input: what the network's forward takes, where its first layer does not tell.
        head: dotted name of the module that classifies, where it is more than the last layer (a head of your own).
        optimizer: an optimizer that already exists; held tensors leave its groups and its state.
        **selector: one of `through`, `first`, `train_first`, `match`, `train`, `frozen_stages`.

    Returns:
        The handle: `.plan` says what is held and why, `.lift()` gives back the state before.

    Raises:
        SelectorError: the words pick nothing, everything, or something that is not there.
        PlanError: a plan is in force on this network already.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(288, 2))
    >>> with freeze(net, "all", example_input=torch.zeros(1, 3, 8, 8)) as handle:
    ...     [name for name, parameter in net.named_parameters() if parameter.requires_grad]
    ['2.weight', '2.bias']
    """
    asked = parse_call(words, selector)
    check_free(model, f"freeze: {asked}")  # before what it holds is taken for what the user had frozen
    plan = make_plan(
        outline(model, example_input=example_input, head=head),
        asked,
        norm=norm,
        strict=strict,
        held_before=[name for name, parameter in model.named_parameters() if not parameter.requires_grad],
    )
    handle = apply(model, plan)
    if optimizer is not None:
        leave_optimizer(model, plan, optimizer)
    return handle


def apply(model: nn.Module, plan: FreezePlan) -> PlanHandle:
    """Bring a network into the state of a plan.

    Args:
        model: the network that the plan was made for.
        plan: what to hold.

    Returns:
        The handle that lifts it.

    Raises:
        PlanError: another plan is in force; the network's parameters or modules are not those of the plan; a held
            tensor has no values yet; a trained one is of a type that has no gradient. The network is left as it was.
    """
    modules = dict(model.named_modules())
    parameters = dict(model.named_parameters())
    check_free(model, f"freeze: {plan.selector}")
    planned = {parameter.name for parameter in plan.parameters}
    if planned != set(parameters):
        odd = sorted(planned ^ set(parameters))
        raise PlanError(
            f"freeze: {plan.selector}",
            found=f"the plan is of another network: {len(odd)} parameters differ, such as {odd[0]}",
            do="make the plan from this network's outline",
        )
    gone = [module.name for module in plan.modules if module.name not in modules]
    if gone:
        raise PlanError(
            f"freeze: {plan.selector}",
            found=f"the plan is of another network: {len(gone)} modules are not there, such as {gone[0]}",
            do="make the plan from this network's outline",
        )
    _check_types(model, plan)
    held = [parameters[name] for name in plan.held_names]
    forget_cached(*(modules[module.name] for module in plan.modules if module.evaluates))
    handle = PlanHandle(
        model=model,
        plan=plan,
        before=digests(model, [*sorted(plan.held_names), *plan.held_buffers]),
        beside=digests(model, plan.partly_held_buffers),
        _requires_grad={parameter: parameter.requires_grad for parameter in parameters.values()},
        _gradients={parameter: parameter.grad for parameter in held if parameter.grad is not None},
        _modes={module: module.training for module in modules.values()},
    )
    wanted = {parameter: name not in plan.held_names for name, parameter in parameters.items()}
    _switch(model, wanted, because=f"freeze: {plan.selector}")
    for parameter in held:
        # A zero gradient is not none: momentum and weight decay would still move what it belongs to.
        parameter.grad = None
    for module in plan.modules:
        if module.evaluates:
            keep_in_eval(modules[module.name])
    _UNDER_A_PLAN.add(model)
    return handle


def _switch(model: nn.Module, wanted: Mapping[nn.Parameter, bool], *, because: str) -> None:
    """Switch gradients on and off; where that changes anything, DDP wrappers from before must not run any more."""
    if any(parameter.requires_grad is not required for parameter, required in wanted.items()):
        retire(wrappers_of(model), because=because)
    for parameter, required in wanted.items():
        parameter.requires_grad_(required)


def check_free(model: nn.Module, asked: str) -> None:
    """Refuse a network on which a plan is in force: what that one holds would be taken for the user's own freeze.

    Raises:
        PlanError: one is.
    """
    if model in _UNDER_A_PLAN or any(is_kept_in_eval(module) for module in model.modules()):
        raise PlanError(asked, found="a plan is in force on this network", do="lift it first")


def _check_types(model: nn.Module, plan: FreezePlan) -> None:
    tensors = named_tensors(model)
    empty = [name for name in [*sorted(plan.held_names), *plan.held_buffers] if tensors[name].is_meta]
    if empty:
        raise PlanError(
            f"freeze: {plan.selector}",
            found=f"{len(empty)} held tensors have no values yet (device meta), such as {empty[0]}",
            do="load the weights first",
        )
    whole = [
        name
        for name in sorted(plan.trained_names)
        if not (tensors[name].is_floating_point() or tensors[name].is_complex())
    ]
    if whole:
        raise PlanError(
            f"freeze: {plan.selector}",
            found=f"{whole[0]} would be trained, and {tensors[whole[0]].dtype} has no gradient",
            do="hold it too",
        )


def leave_optimizer(model: nn.Module, plan: FreezePlan, optimizer: torch.optim.Optimizer) -> None:
    """Take what a plan holds out of an optimizer: out of its groups, and its state (momentum) with it.

    Args:
        model: the network under the plan.
        plan: what is held.
        optimizer: changed in place; a group that becomes empty stays, so that schedulers keep their slots.
    """
    held = {id(parameter) for name, parameter in model.named_parameters() if name in plan.held_names}
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in held]
    for parameter in [parameter for parameter in optimizer.state if id(parameter) in held]:
        del optimizer.state[parameter]
