"""Adapters (LoRA and its kin) in selected layers, on PEFT: put in, merged, and kept in a folder of their own."""

from frostline.lora.adapt import Adapters, adapt, adapt_layers, lay_out_adapters
from frostline.lora.folder import bare_name, layers_with, load_adapters, save_adapters
from frostline.lora.kinds import KINDS, Kind
from frostline.lora.merge import merge_adapters, merged

__all__ = [
    "KINDS",
    "Adapters",
    "Kind",
    "adapt",
    "adapt_layers",
    "bare_name",
    "lay_out_adapters",
    "layers_with",
    "load_adapters",
    "merge_adapters",
    "merged",
    "save_adapters",
]
