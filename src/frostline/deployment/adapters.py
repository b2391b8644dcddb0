"""The adapters of a run in a folder of their own, which PEFT puts on the network that the run began with."""

from pathlib import Path

from frostline.backbones import elsewhere
from frostline.deployment.exported import Exported, agree
from frostline.lora import save_adapters
from frostline.recipe.assembly import rebuilt
from frostline.recipe.trained import Trained
from frostline.selection import INSIDE

ADAPTERS = "adapters"


def write_adapters(finished: Trained, folder: Path) -> Exported:
    """Write adapters, and all that was trained or moved beside them; load them with PEFT, and compare.

    Args:
        finished: a run with adapters.
        folder: it is made.

    Raises:
        UserError: they are not all that was trained: other layers were, too.
        RunFailure: with them PEFT makes another network.
    """
    from peft import PeftModel

    held = finished.record.digests.get("start", {})
    name, classes = finished.recipe.model.name, finished.classes
    save_adapters(finished.model, folder, held=held.keys(), base=name.removeprefix("hf/"))
    network = rebuilt(finished.recipe, num_classes=len(classes))[0]
    state = finished.model.state_dict()
    network.load_state_dict({one.replace(f".{INSIDE}.", "."): state[one] for one in held}, strict=False)
    there = elsewhere(name, num_classes=len(classes), like=network)
    code = (
        f"network = {'…' if there is None else there.code}  # {name} for {len(classes)} classes, with the weights that "
        "the run began with",
        f'model = peft.PeftModel.from_pretrained(network, "{folder}")',
    )
    loaded = PeftModel.from_pretrained(network, str(folder))
    return Exported(path=folder, apart=agree(finished, loaded, folder), code=code)
