"""The store: what frozen prefixes have computed, on the disk, shared by runs; listing it needs no torch."""

from frostline.replaying.store.folder import Store, default_folder
from frostline.replaying.store.sizes import parse_size, show_size

__all__ = ["Store", "default_folder", "parse_size", "show_size"]
