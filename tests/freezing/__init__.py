"""Tests of plans, of how they are held, and of the proof that they held."""
