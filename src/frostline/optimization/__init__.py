"""FAST: parameter groups of a plan, optimizers and rate schedules."""

from frostline.optimization.build import OptimizerName, ScheduleName, make_optimizer, make_schedule
from frostline.optimization.groups import param_groups

__all__ = ["OptimizerName", "ScheduleName", "make_optimizer", "make_schedule", "param_groups"]
