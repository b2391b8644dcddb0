"""Guarding: what is frozen must stay what it was when it was recorded."""
