"""Tests of what a finished run is used for."""
