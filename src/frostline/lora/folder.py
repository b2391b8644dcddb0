"""Adapters in a folder of their own, as PEFT writes them: small, and for one network alone."""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from frostline.errors import UserError, WeightsError, first_of
from frostline.freezing import check_free
from frostline.lora.adapt import put_in, take_out
from frostline.lora.kinds import NAME, is_wrapped, library
from frostline.selection import INSIDE, adapted_layers, is_of_adapter, parents_of

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
# Before every name in PEFT's files: a network within its tuner within its wrapper.
_WITHIN = "base_model.model."


def save_adapters(model: nn.Module, folder: Path | str, *, held: Collection[str], base: str = "") -> tuple[str, ...]:
    """Write the adapters of a network, with all else that was trained or moved beside them.

    PEFT loads the folder (`PeftModel.from_pretrained(network, folder)`), unless it takes a name for the end of another,
    and so does `load_adapters`. What was trained beside adapters (a new head), and the statistics of norm layers that
    were not held, belong to it: without them the network would compute something else.

    Args:
        model: with adapters.
        folder: it is made.
        held: names of all that did not move, as `handle.unmoved()` gives them; nothing of it is written.
        base: what the network is called, or where it came from.

    Returns:
        Names of the modules that were written whole.

    Raises:
        UserError: the network has no adapters, or PEFT has wrapped it; or layers with adapters were trained
            themselves, or tensors that hang on a module with others in it: then it is no small thing beside the
            network any more.
    """
    from safetensors.torch import save_file

    config, asked = _config(model), "save adapters"
    if is_wrapped(model):
        raise UserError(asked, found="PEFT has wrapped the network", do="use its own `save_pretrained`")
    state, layers = model.state_dict(), adapted_layers(model)
    if config is None or not layers:
        raise UserError(asked, found="the network has none", do="put them in with `adapt`")
    unmoved = _unmoved(model, held)
    adapters = {name for name in state if is_of_adapter(name, layers.keys())}
    others = [name for name in state if name not in adapters and name not in unmoved]
    whole = {name.rpartition(".")[0] for name in others}
    odd = sorted(name for name in whole if not name or any("." in own for own in _own(model, name)))
    inside = sorted(name for name in others if set(parents_of(name)) & layers.keys())
    if odd or inside:
        found = f"{first_of(inside or [name or 'the network itself' for name in odd], most=3)} were trained, too"
        raise UserError(asked, found=found, do="keep the whole network: merged, or as it is")
    tensors = {_written(name, layers): state[name] for name in sorted(adapters)}
    for name in sorted(whole):
        tensors |= {f"{_WITHIN}{name}.{own}": tensor for own, tensor in _own(model, name).items()}
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, place / TENSORS)
    words = config.to_dict() | {
        "modules_to_save": sorted(whole) or None,
        "inference_mode": True,
        "base_model_name_or_path": base,
    }
    (place / CONFIG).write_text(json.dumps(_plain(words), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return tuple(sorted(whole))


def load_adapters(model: nn.Module, folder: Path | str) -> None:
    """Put adapters from a folder into a network, with all that was written beside them.

    Args:
        model: the network that they are for, without adapters; changed in place.
        folder: what `save_adapters` wrote, or PEFT.

    Raises:
        PlanError: a plan is in force on the network.
        WeightsError: the folder cannot be read, or is for another network.
        UserError: the network has adapters already.
    """
    from safetensors.torch import load_file

    place, asked = Path(folder), f"adapters {folder}"
    check_free(model, asked)
    if adapted_layers(model):
        raise UserError(asked, found="the network has adapters already", do="merge them first")
    if not place.is_dir():
        raise WeightsError(asked, found="no such folder", do="name the folder that save_adapters or PEFT wrote")
    try:
        config = _read(place)
        tensors = load_file(place / TENSORS)
    except Exception as error:  # of the file system, of JSON, of PEFT, of safetensors
        found = f"they cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:160]})"
        raise WeightsError(asked, found=found, do="name the folder that save_adapters or PEFT wrote") from None
    try:
        # By the names of the adapters: by its configuration PEFT takes names for the ends of others.
        put_in(model, config, like={name.removeprefix(_WITHIN): tensor for name, tensor in tensors.items()})
    except ValueError as error:  # PEFT's, where no layer is found
        found = f"no layer of theirs is there ({' '.join(str(error).split())[:160]})"
        raise WeightsError(asked, found=found, do="name the network that they are for") from None
    state, layers = model.state_dict(), adapted_layers(model)
    of_adapters = {name for name in state if is_of_adapter(name, layers.keys())}
    names = {_written(name, layers) if name in of_adapters else f"{_WITHIN}{name}": name for name in state}
    own = {names.get(name, name): tensor for name, tensor in tensors.items()}
    left = sorted(name for name in own if name not in state or state[name].shape != own[name].shape)
    without = sorted(of_adapters - own.keys())
    if left or without:
        take_out(model)
        found = f"{len(left) + len(without)} tensors do not fit, such as {(left or without)[0]}"
        raise WeightsError(asked, found=found, do="name the network that they are for")
    model.load_state_dict(own, strict=False)


def layers_with(names: Iterable[str]) -> tuple[str, ...]:
    """Name the layers that have adapters, by the names of a network's tensors.

    >>> layers_with(["body.base_layer.weight", "fc.base_layer.weight", "fc.lora_A.default.weight"])
    ('fc',)
    """
    every = list(names)
    # Somebody's own module may be called as PEFT calls the layer within.
    found = (re.match(r"(.+)\.(?:lora_|ia3_)", name) for name in every)
    known = dict.fromkeys(one.group(1) for one in found if one is not None)
    return tuple(layer for layer in known if any(name.startswith(f"{layer}.{INSIDE}.") for name in every))


def bare_name(name: str, layers: Collection[str]) -> str:
    """Give the name that a tensor of an adapted layer has where there are no adapters."""
    layer = next((layer for layer in layers if name.startswith(f"{layer}.{INSIDE}.")), None)
    return name if layer is None else f"{layer}.{name.removeprefix(f'{layer}.{INSIDE}.')}"


def _unmoved(model: nn.Module, held: Collection[str]) -> set[str]:
    """Name all that is held, under every name: two names may be of one tensor."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    known = {id(tensor) for name, tensor in named if name in held}
    return {name for name, tensor in named if id(tensor) in known} | set(held)


def _config(model: nn.Module) -> Any:
    every = getattr(model, "peft_config", None)
    return every.get(NAME) if isinstance(every, dict) else None


def _read(place: Path) -> Any:
    config = library().PeftConfig.from_pretrained(str(place))
    config.modules_to_save = None  # they are not trained anew here, so that their values are enough
    config.inference_mode = False
    return config


def _written(name: str, layers: Collection[str]) -> str:
    """Give the name that PEFT writes a tensor of an adapter under: without the name of the adapter."""
    layer = max((layer for layer in layers if name.startswith(f"{layer}.")), key=len)
    own = [part for part in name.removeprefix(f"{layer}.").split(".") if part != NAME]
    return f"{_WITHIN}{layer}.{'.'.join(own)}"


def _own(model: nn.Module, name: str) -> Mapping[str, Tensor]:
    return model.get_submodule(name).state_dict()


def _plain(words: Mapping[str, Any]) -> dict[str, Any]:
    """Give a configuration as JSON has it: sets in order, names of kinds as text."""
    return {
        key: sorted(value) if isinstance(value, set) else getattr(value, "value", value) for key, value in words.items()
    }
