"""A name → a pretrained network with its weights, its input, and BatchNorm that can be trained."""

from frostline.backbones.batchnorm import refill, unfilled_norms
from frostline.backbones.build import build
from frostline.backbones.classifier import classifier_name
from frostline.backbones.elsewhere import Elsewhere, elsewhere
from frostline.backbones.from_file import code_digest
from frostline.backbones.network import Backbone, Channels, InputSpec, Kind, Spec
from frostline.backbones.text_input import TextSpec, Tokens, kept_digest, saved_tokenizer
from frostline.backbones.to_huggingface import load_huggingface, save_huggingface
from frostline.backbones.weights import head_of, load_weights, read_weights

__all__ = [
    "Backbone",
    "Channels",
    "Elsewhere",
    "InputSpec",
    "Kind",
    "Spec",
    "TextSpec",
    "Tokens",
    "build",
    "classifier_name",
    "code_digest",
    "elsewhere",
    "head_of",
    "kept_digest",
    "load_huggingface",
    "load_weights",
    "read_weights",
    "refill",
    "save_huggingface",
    "saved_tokenizer",
    "unfilled_norms",
]
