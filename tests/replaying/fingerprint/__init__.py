"""Tests of what tells a data set from another."""
