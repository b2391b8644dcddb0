"""BatchNorm that cannot be trained: layers whose statistics were folded away or never filled, found and mended."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from frostline.errors import NetworkError
from frostline.selection import ExampleInput, call, undisturbed


def unfilled_norms(model: nn.Module) -> tuple[str, ...]:
    """Name the BatchNorm layers whose statistics stand at mean 0 and variance 1 (or 1 - eps) everywhere.

    In eval mode such a layer is right where its statistics were folded into the convolution before it. In train mode
    it normalises by the batch, and so drops a scale and a shift that its weight and bias do not give back.
    """
    return tuple(
        name for name, module in model.named_modules() if isinstance(module, BatchNorm) and _is_unfilled(module)
    )


def refill(model: nn.Module, batches: Iterable[ExampleInput]) -> tuple[str, ...]:
    """Measure the statistics of unfilled BatchNorm layers and move them in; what eval mode computes stays the same.

    Mean and variance of what enters a layer become its statistics, and its weight and bias take up the difference,
    so one pass in eval mode measures all layers, whatever their order.

    Args:
        model: changed in place.
        batches: what the network is given, some tens of samples in all; each counts the same.

    Returns:
        Names of the layers that were filled.

    Raises:
        NetworkError: a layer that should be filled did not run, saw values that are not finite, or has no weight and
            bias to take up the difference; nothing was changed.
    """
    names = unfilled_norms(model)
    layers = {name: layer for name, layer in model.named_modules() if name in names and isinstance(layer, BatchNorm)}
    plain = [name for name, layer in layers.items() if layer.weight is None or layer.bias is None]
    if plain:
        raise NetworkError(
            "norm: refill", found=f"{plain[0]} has no weight and bias", do="keep it in eval: hold the stage it is in"
        )
    moments = {name: _Moments() for name in names}
    hooks = [layers[name].register_forward_pre_hook(moments[name].add) for name in names]
    try:
        with undisturbed(model), torch.no_grad():
            model.eval()
            for batch in batches:
                call(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    for name in names:
        if moments[name].count < 2:
            raise NetworkError("norm: refill", found=f"{name} saw no data", do="give training data that reaches it")
        if not (moments[name].mean.isfinite().all() and moments[name].variance.isfinite().all()):
            raise NetworkError(
                "norm: refill", found=f"{name} saw values that are not finite", do="check the weights and the data"
            )
    for name, layer in layers.items():
        _fill(layer, mean=moments[name].mean, variance=moments[name].variance)
    return names


class _Moments:
    """Mean and variance by channel of what enters a layer, around the first batch's mean.

    Summed in the layer's own precision within a picture and in doubles over them: doubles throughout are as exact here,
    and several times slower than the network.
    """

    def __init__(self) -> None:
        self.count = 0
        self._around: Tensor | float = 0.0
        self._sum: Tensor | float = 0.0
        self._squares: Tensor | float = 0.0

    def add(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x_NCM = inputs[0].flatten(2) if inputs[0].ndim > 2 else inputs[0].unsqueeze(2)
        if not self.count:
            self._around = x_NCM.mean((0, 2))
        centred_NCM = x_NCM - torch.as_tensor(self._around)[:, None]
        self.count += x_NCM.shape[0] * x_NCM.shape[2]
        self._sum = self._sum + centred_NCM.sum(2).double().sum(0)
        self._squares = self._squares + centred_NCM.square().sum(2).double().sum(0)

    @property
    def mean(self) -> Tensor:
        return torch.as_tensor(torch.as_tensor(self._around).double() + self._sum / self.count)

    @property
    def variance(self) -> Tensor:
        return torch.as_tensor(self._squares / self.count - (self._sum / self.count) ** 2).clamp_min(0)


def _is_unfilled(norm: BatchNorm) -> bool:
    if norm.running_mean is None or norm.running_var is None:
        return False
    # Who takes a fold apart exactly writes 1 - eps, so that the layer divides by 1.
    return bool((norm.running_mean == 0).all() and ((norm.running_var - 1).abs() <= 2 * norm.eps).all())


@torch.no_grad()
def _fill(norm: BatchNorm, *, mean: Tensor, variance: Tensor) -> None:
    """Replace a layer's statistics; y = (x - mean) / sqrt(variance + eps) · weight + bias stays as it was."""
    if norm.running_mean is None or norm.running_var is None:
        return
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.double() - norm.running_mean.double() * scale
    norm.weight.copy_(scale * (variance + norm.eps).sqrt())
    norm.bias.copy_(shift + mean * scale)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
