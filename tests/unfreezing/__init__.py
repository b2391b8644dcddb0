"""Tests of schedules of phases, and of a network that goes through them."""
