"""What stands out in the record of one run."""

from frostline.record import RunRecord
from frostline.report.symptoms.classes import one_sided_predictions
from frostline.report.symptoms.drift import drifting_apart
from frostline.report.symptoms.frozen import everything_frozen
from frostline.report.symptoms.norms import norms_in_train
from frostline.report.symptoms.phases import worse_phase
from frostline.report.symptoms.rate import too_high
from frostline.report.symptoms.symptom import Symptom
from frostline.report.symptoms.unfinished import still_learning

ORDER = ("fault", "sign", "note")
# From what was held to what came of it: what stands first may be the cause of what follows.
EVERY = (
    everything_frozen,
    norms_in_train,
    too_high,
    worse_phase,
    one_sided_predictions,
    drifting_apart,
    still_learning,
)


def symptoms_of(record: RunRecord) -> tuple[Symptom, ...]:
    """Name what stands out in a run, faults first; nothing where it went as runs go.

    Args:
        record: of the run, ours or another trainer's.
    """
    found = [symptom for look in EVERY for symptom in look(record)]
    return tuple(sorted(found, key=lambda symptom: ORDER.index(symptom.severity)))
