"""Claim 7: a network built anew, with the saved weights loaded strictly, gives the same output to the bit."""

import io
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from frostline.freezing.claims import Loss, claim, not_applicable
from frostline.freezing.digests import digest, whole
from frostline.record import Claim
from frostline.selection import all_tensors, undisturbed

RELOADED = "saved and loaded, the network gives the same output"


def reloaded_claim(
    model: nn.Module,
    *,
    loss: Loss | None,
    batch: Any,
    rebuild: Callable[[], nn.Module] | None,
    saved: bytes | None = None,
) -> Claim:
    """Claim 7: a network built anew, with the saved weights loaded strictly, gives the same output to the bit.

    Args:
        model: the network.
        loss: runs it on a batch.
        batch: a real batch.
        rebuild: builds the same network anew, from nothing that this one holds.
        saved: a safetensors file's bytes; without it the state dict is saved by torch and read again.
    """
    if loss is None:
        return not_applicable(RELOADED, "no batch and loss were given")
    if rebuild is None:
        return not_applicable(RELOADED, "no way to build the network anew was given")
    with undisturbed(model):  # new layers draw their first weights
        other = rebuild()
    if saved is None:
        file = io.BytesIO()
        torch.save({name: whole(tensor) for name, tensor in model.state_dict().items()}, file)
        file.seek(0)
        state = torch.load(file, weights_only=True)
    else:
        from safetensors.torch import load

        state = load(saved)
    device = next(model.parameters()).device
    # Files have no versions of modules, and some networks ask for theirs (torchvision's MNASNet).
    versioned = OrderedDict(state)
    versioned._metadata = getattr(other.state_dict(), "_metadata", {})  # type: ignore[attr-defined]
    try:
        other.load_state_dict(versioned, strict=True)
    except RuntimeError as error:
        # torch lists what does not fit on the lines after the first.
        wrong = [f"the saved weights do not load: {line.strip()}" for line in str(error).splitlines()[1:]]
        return claim(RELOADED, wrong or [f"the saved weights do not load: {error}"], "")
    ours, theirs = (_outputs(network, loss=loss, batch=batch) for network in (model, other.to(device)))
    if not ours:
        return not_applicable(RELOADED, "the network's own forward gave no tensor")
    numbers = sum(tensor.numel() for tensor in ours)
    wrong = []
    if len(ours) != len(theirs):
        wrong.append(f"the loaded network gives {len(theirs)} outputs, not {len(ours)}")
    wrong += [
        f"the loaded network gives another output: {_gap(a, b)}"
        for a, b in zip(ours, theirs, strict=False)
        if digest(a) != digest(b)
    ]
    return claim(RELOADED, wrong, f"{numbers} outputs of a batch are equal to the bit", {"outputs": numbers})


def _gap(ours: Tensor, theirs: Tensor) -> str:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return f"{ours.dtype} {tuple(ours.shape)} and {theirs.dtype} {tuple(theirs.shape)}"
    if not ours.is_floating_point():
        return f"{int((ours != theirs).sum())} of {ours.numel()} numbers differ"
    return f"largest difference {(ours - theirs).abs().max().item():.3g}"


def _outputs(model: nn.Module, *, loss: Loss, batch: Any) -> list[Tensor]:
    """Run the network in eval mode and give all tensors of its output."""
    seen: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        seen.extend(tensor.detach().clone() for tensor in all_tensors(output))

    hook = model.register_forward_hook(keep)
    try:
        with undisturbed(model), torch.no_grad():
            model.eval()
            loss(model, batch)
    finally:
        hook.remove()
    return seen
