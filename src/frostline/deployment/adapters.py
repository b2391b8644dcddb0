"""The adapters of a run in a folder of their own, which PEFT puts on the network that the run began with."""

import copy
from pathlib import Path

from frostline.backbones import elsewhere
from frostline.backbones.from_huggingface import quiet
from frostline.deployment.exported import Exported, agree
from frostline.lora import bare_name, load_adapters, save_adapters
from frostline.recipe.assembly import rebuilt
from frostline.recipe.trained import Trained
from frostline.selection import HEAD, adapted_layers

ADAPTERS = "adapters"


def write_adapters(finished: Trained, folder: Path) -> Exported:
    """Write adapters, and all that was trained or moved beside them; load them with PEFT, and compare.

    Args:
        finished: a run with adapters.
        folder: it is made.

    Raises:
        UserError: they are not all that was trained: other layers were, too.
        RunFailure: with them another network comes about.
    """
    from peft import PeftModel

    held = _unmoved(finished)
    name, classes = finished.recipe.model.name, finished.classes
    save_adapters(finished.model, folder, held=held, base=name.removeprefix("hf/"))
    network = rebuilt(finished.recipe, num_classes=len(classes))[0]
    state = finished.model.state_dict()
    layers = adapted_layers(finished.model).keys()
    network.load_state_dict({bare_name(one, layers): state[one] for one in held}, strict=False)
    there = elsewhere(name, num_classes=len(classes), like=network)
    code = (
        f"network = {'…' if there is None else there.code}  # {name} for {len(classes)} classes, with the weights that "
        "the run began with",
        f'model = peft.PeftModel.from_pretrained(network, "{folder}")',
    )
    try:
        with quiet():
            loaded = PeftModel.from_pretrained(copy.deepcopy(network), str(folder))
        return Exported(path=folder, apart=agree(finished, loaded, folder), code=code)
    except Exception:  # PEFT takes a name for the end of another, or renames what it reads
        load_adapters(network, folder)
    code = (code[0], f'frostline.lora.load_adapters(network, "{folder}")  # PEFT does not read them rightly')
    return Exported(path=folder, apart=agree(finished, network, folder), code=code)


def _unmoved(finished: Trained) -> set[str]:
    """Name what the run did not move; a new head was drawn for it, and belongs to its adapters though it is held."""
    record, kept = finished.record, finished.recipe.model.keep_head
    beside, final = record.digests.get("beside", {}), record.digests.get("final", {})
    names = {*record.digests.get("start", {}), *(name for name in beside if final.get(name) == beside[name])}
    head = [layer for stage in record.outline if stage.name == HEAD and not kept for layer in stage.layers]
    return {name for name in names if not any(name == layer or name.startswith(f"{layer}.") for layer in head)}
