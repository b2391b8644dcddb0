"""Self-contained HTML pages about runs, drawn from their records alone, and what many runs came to."""

from frostline.report.ablation_page import write_comparison
from frostline.report.arms import Arms, arms_from, arms_of, said_apart
from frostline.report.drawing import REPORT_FILE
from frostline.report.page import render, write_report

__all__ = ["REPORT_FILE", "Arms", "arms_from", "arms_of", "render", "said_apart", "write_comparison", "write_report"]
