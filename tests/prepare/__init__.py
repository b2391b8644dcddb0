"""Tests of data that is made."""
