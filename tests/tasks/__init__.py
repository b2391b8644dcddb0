"""Tests of how samples are read, split and judged."""
