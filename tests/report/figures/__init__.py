"""Tests of frostline.report.figures."""
