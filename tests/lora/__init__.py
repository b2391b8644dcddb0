"""Tests of adapters in layers of networks."""
