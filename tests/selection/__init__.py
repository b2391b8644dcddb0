"""Tests of which part of a network a selector picks."""
