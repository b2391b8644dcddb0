"""Tests of the arithmetic behind the page of the benchmarks."""
