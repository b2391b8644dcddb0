"""Tests of what a batch costs and how predictions are judged."""
