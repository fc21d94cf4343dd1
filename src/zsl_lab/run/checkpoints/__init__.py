"""Checkpoint files, the state of a run in them, and the checks of what was read."""
