"""Runs of one process that are trained together (``sweep.together``)."""

from zsl_lab.run.together.turns import Turns, joint_updates, runs, waiting

__all__ = ["Turns", "joint_updates", "runs", "waiting"]
