"""Tests of how pictures are found, read, drawn and changed."""
