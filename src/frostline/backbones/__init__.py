"""A name → a pretrained network with its weights, its input, and BatchNorm that can be trained."""

from frostline.backbones.batchnorm import refill, unfilled_norms
from frostline.backbones.build import build, classifier_name
from frostline.backbones.network import Backbone, Channels, InputSpec
from frostline.backbones.weights import load_weights, read_weights

__all__ = [
    "Backbone",
    "Channels",
    "InputSpec",
    "build",
    "classifier_name",
    "load_weights",
    "read_weights",
    "refill",
    "unfilled_norms",
]
