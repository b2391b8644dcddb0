"""Tests of adapters: LoRA and its kin in selected layers."""
