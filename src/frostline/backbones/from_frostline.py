"""Our own network: the one that the demo trains."""

from importlib.resources import as_file, files

from frostline.backbones.glyph_resnet import GLYPH_INPUT, GlyphResNet
from frostline.backbones.network import Backbone
from frostline.backbones.refusals import unknown
from frostline.backbones.weights import load_weights, read_weights

GLYPH_CLASSES = 45


def from_frostline(name: str, *, pretrained: bool) -> Backbone:
    """Build the network that comes with frostline; its weights come with it too.

    Raises:
        NetworkError: no such network.
    """
    if name != "glyph_resnet":
        raise unknown(f"frostline/{name}", ["glyph_resnet"], "there is one network of our own")
    model = GlyphResNet(num_classes=GLYPH_CLASSES)
    if pretrained:
        with as_file(files("frostline.backbones") / "glyph_resnet.safetensors") as path:
            load_weights(model, read_weights(path), path=path)
    return Backbone(name=name, model=model, input=GLYPH_INPUT)
