"""Tests of what is put in the place of a network's own classifier."""
