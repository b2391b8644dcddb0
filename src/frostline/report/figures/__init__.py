"""The figures and tables of a page as files: PNG and SVG, and CSV, from the same geometry and the same cells."""

from frostline.report.figures.write import write_figures, write_figures_of_arms

__all__ = ["write_figures", "write_figures_of_arms"]
