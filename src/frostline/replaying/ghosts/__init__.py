"""Ghosts: tensors without data that stand for samples, and for what nobody computes."""
