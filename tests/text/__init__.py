"""Tests of the text encoders."""
