"""Many runs, one question: which are to be made, what they have in common, and what came of them.

Importing it imports no torch; what trains does, when it is first used.
"""

from typing import TYPE_CHECKING, Any

from frostline.ablation.question import Arm, Question, values_of

if TYPE_CHECKING:
    from frostline.ablation.answer import ablate

__all__ = ["Arm", "Question", "ablate", "values_of"]


def __getattr__(name: str) -> Any:
    if name != "ablate":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from frostline.ablation.answer import ablate

    return ablate
