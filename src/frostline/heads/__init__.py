"""Heads: what is put in the place of a network's own classifier."""

from frostline.heads.classifier import HeadName, replace_classifier

__all__ = ["HeadName", "replace_classifier"]
