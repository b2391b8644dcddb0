"""Keep held modules in eval mode, also after any later `train()`: norm layers and dropout of held parts do not act."""

from torch import nn

from frostline.freezing.plan import FreezePlan


class StayInEval:
    """Stands in for the `train` method of one held module: the module stays in eval, its children decide themselves.

    It is set on the instance, so the class, `isinstance`, copying and pickling stay as they were. What stood there
    before (`network.train = disabled` is a habit of some) is kept for the release.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.before = module.__dict__.get("train")

    def __call__(self, mode: bool = True) -> nn.Module:
        """Do what `nn.Module.train` does, except that this module stays in eval.

        Args:
            mode: what the caller asked for; it goes on to the children.
        """
        self.module.training = False
        for child in self.module.children():
            child.train(mode)
        return self.module


def forget_cached(*modules: nn.Module) -> None:
    """Let modules drop what they computed of their weights in eval, which some keep until `train()` (timm's LeViT).

    Modes, and whether parameters need gradients, are as before.
    """
    for module in modules:
        train = type(module).train
        if train is nn.Module.train:
            continue
        modes = {part: part.training for part in module.modules()}
        needs = {parameter: parameter.requires_grad for parameter in module.parameters()}
        train(module, True)
        train(module, modes[module])
        for part, training in modes.items():
            part.training = training
        for parameter, needed in needs.items():
            parameter.requires_grad_(needed)


def keep_in_eval(module: nn.Module) -> None:
    """Put one module, without its children, into eval mode and keep it there."""
    module.__dict__["train"] = StayInEval(module)
    module.training = False


def release(module: nn.Module) -> None:
    """Give one module its own `train` method back; its mode stays as it is."""
    stay = module.__dict__.get("train")
    if not isinstance(stay, StayInEval):
        return
    del module.__dict__["train"]
    if stay.before is not None:
        module.__dict__["train"] = stay.before


def is_kept_in_eval(module: nn.Module) -> bool:
    """Whether a module is kept in eval mode."""
    return isinstance(module.__dict__.get("train"), StayInEval)


def trained_batchnorm(model: nn.Module, plan: FreezePlan) -> str | None:
    """Name a BatchNorm layer that takes the statistics of its batch, so that what it computes depends on the batch."""
    modules = dict(model.named_modules())
    return next(
        (
            module.name
            for module in plan.modules
            if isinstance(modules[module.name], nn.modules.batchnorm._BatchNorm) and not module.evaluates
        ),
        None,
    )
