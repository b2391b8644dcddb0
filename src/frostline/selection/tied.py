"""A tensor with several names as one part of a network: it lies where it is listed, and is held with that."""

from dataclasses import replace

from frostline.selection.parts import Layer, Outline


def tied_at_first(outline: Outline) -> Outline:
    """Let every name of a tied tensor lie in the layer of the first one.

    A masked language model ends with the table of words that it begins with. So `through: stem` holds the table, and
    the head is what stands beside it, while an outline as it is written refuses to hold a tensor under one name alone.

    Args:
        outline: of any network.
    """
    aliases = {alias for entry in outline.parameters for alias in entry.aliases}
    stages = []
    for stage in outline.stages:
        layers = []
        for layer in stage.layers:
            own = [name for name in layer.parameters if name not in aliases]
            names = tuple(every for name in own for every in outline.entries[name].names)
            if names or not layer.parameters:
                layers.append(Layer(name=layer.name, parameters=names))
        if layers:
            stages.append(replace(stage, layers=tuple(layers)))
    return replace(outline, stages=tuple(stages))
