"""Tests of how networks are built, their weights loaded and their BatchNorm mended."""
