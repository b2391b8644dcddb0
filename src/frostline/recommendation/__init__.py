"""How to train, with reasons: what the table says for the size, what one pass over the samples shows, what it costs.

Importing it imports no torch; what looks at networks does, when it is first used.
"""

from typing import TYPE_CHECKING, Any

from frostline.recommendation.advice import Advice, Evidence, StageEvidence, advise
from frostline.recommendation.logme import logme
from frostline.recommendation.probe import Probe, linear_classifier, linear_probe
from frostline.recommendation.sizes import Usual, sizes

if TYPE_CHECKING:
    from frostline.recommendation.answer import Option, Recommendation, recommend
    from frostline.recommendation.checking import Checked, check, check_judged, judge
    from frostline.recommendation.features import record_features, some_of
    from frostline.recommendation.gradients import relative_gradients

__all__ = [
    "Advice",
    "Checked",
    "Evidence",
    "Option",
    "Probe",
    "Recommendation",
    "StageEvidence",
    "Usual",
    "advise",
    "check",
    "check_judged",
    "judge",
    "linear_classifier",
    "linear_probe",
    "logme",
    "recommend",
    "record_features",
    "relative_gradients",
    "sizes",
    "some_of",
]
_LATE = {
    "Checked": "checking",
    "Option": "answer",
    "Recommendation": "answer",
    "check": "checking",
    "check_judged": "checking",
    "judge": "checking",
    "recommend": "answer",
    "record_features": "features",
    "relative_gradients": "gradients",
    "some_of": "features",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
