"""Figures of a run, and the style of all figures."""
