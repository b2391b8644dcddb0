"""One self-contained HTML page about a run, drawn from its record alone."""

from frostline.report.page import REPORT_FILE, render, write_report

__all__ = ["REPORT_FILE", "render", "write_report"]
