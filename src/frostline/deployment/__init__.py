"""A finished run put to use: judged on other samples, asked what it sees, written for other programs."""

from frostline.deployment.export import Export, export_run
from frostline.deployment.exported import Exported
from frostline.deployment.predict import Prediction, evaluate_run, predict_folder, predict_texts
from frostline.recipe.trained import Trained, load_run

__all__ = [
    "Export",
    "Exported",
    "Prediction",
    "Trained",
    "evaluate_run",
    "export_run",
    "load_run",
    "predict_folder",
    "predict_texts",
]
