"""Checks of a benchmark: findings that are shown, stored and may stop a run."""
