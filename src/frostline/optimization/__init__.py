"""FAST: rates by depth, parameter groups of a plan, optimizers and rate schedules, state from plan to plan."""

from frostline.optimization.build import OptimizerName, RateSchedule, make_optimizer, make_schedule
from frostline.optimization.carry import carry_state
from frostline.optimization.groups import param_groups
from frostline.optimization.rates import DISCRIMINATIVE, by_depth, by_stage, stage_rates
from frostline.optimization.schedules import ScheduleName

__all__ = [
    "DISCRIMINATIVE",
    "OptimizerName",
    "RateSchedule",
    "ScheduleName",
    "by_depth",
    "by_stage",
    "carry_state",
    "make_optimizer",
    "make_schedule",
    "param_groups",
    "stage_rates",
]
