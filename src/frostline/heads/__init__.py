"""Heads: what is put in the place of a network's own classifier."""

from frostline.heads.linear import replace_classifier

__all__ = ["replace_classifier"]
