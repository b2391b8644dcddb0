"""What stands out in records, named by itself: each symptom with the numbers that show it, and what to do."""

from frostline.report.symptoms.arms import symptoms_of_arms
from frostline.report.symptoms.folder import symptoms_in
from frostline.report.symptoms.run import symptoms_of
from frostline.report.symptoms.symptom import Severity, Symptom

__all__ = ["Severity", "Symptom", "symptoms_in", "symptoms_of", "symptoms_of_arms"]
