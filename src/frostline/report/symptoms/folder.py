"""What stands out in the folder of a run or of an ablation."""

from pathlib import Path

from frostline.record import ABLATION_FILE, read_ablation, read_record
from frostline.report.arms import arms_of
from frostline.report.symptoms.arms import symptoms_of_arms
from frostline.report.symptoms.run import symptoms_of
from frostline.report.symptoms.symptom import Symptom


def symptoms_in(folder: Path) -> tuple[Symptom, ...]:
    """Name what stands out in the records of a folder.

    Args:
        folder: the run's, or the ablation's.

    Raises:
        RunError: the folder or its record is not there, or the record cannot be read.
    """
    if (folder / ABLATION_FILE).is_file():
        return symptoms_of_arms(arms_of(read_ablation(folder), folder))
    return symptoms_of(read_record(folder))
