"""Recognise by its class whose meaning `frozen_stages: N` has on a network; what each means is in frozen_stages.py."""

import re

from torch import nn

from frostline.selection.parts import Convention

# The class of the whole network or of its backbone, as PaddleOCR, its ports and transformers call it; not one of its
# blocks, of which any network may make use. timm's HGNetV2 is of another class, and counts as mmdetection does.
_WHOLE = r"(_\w+|Backbone|Encoder|Model|For\w+)?"
_FAMILIES: dict[Convention, re.Pattern[str]] = {
    "PP-HGNetV2": re.compile(rf"(PP)?HGNetV2{_WHOLE}", re.IGNORECASE),
    "PP-LCNetV3": re.compile(rf"(PP)?LCNetV3{_WHOLE}", re.IGNORECASE),
}


def convention_of(model: nn.Module) -> Convention:
    """Say whose meaning `frozen_stages` has: by the class of a module in the network, or a class it is made from."""
    for module in model.modules():
        for ancestor in type(module).__mro__:
            for convention, name in _FAMILIES.items():
                if name.fullmatch(ancestor.__name__):
                    return convention
    return "mmdetection"
