"""Tests of parameter groups, optimizers and rate schedules."""
