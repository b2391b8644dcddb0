"""HOLD: plans, how they are applied and lifted, and the proof that they held."""

from frostline.freezing.apply import PlanHandle, apply, check_free, freeze, leave_optimizer
from frostline.freezing.claims import Loss
from frostline.freezing.digests import combined, digest, digests, whole
from frostline.freezing.gradients import GRADIENTS, GradientWatch
from frostline.freezing.modes import forget_cached, trained_batchnorm
from frostline.freezing.plan import FreezePlan, NormMode, PlannedModule, PlannedParameter, make_plan
from frostline.freezing.proof import across, against_record, confirm, merge, verify

__all__ = [
    "GRADIENTS",
    "FreezePlan",
    "GradientWatch",
    "Loss",
    "NormMode",
    "PlanHandle",
    "PlannedModule",
    "PlannedParameter",
    "across",
    "against_record",
    "apply",
    "check_free",
    "combined",
    "confirm",
    "digest",
    "digests",
    "forget_cached",
    "freeze",
    "leave_optimizer",
    "make_plan",
    "merge",
    "trained_batchnorm",
    "verify",
    "whole",
]
