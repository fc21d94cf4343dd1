"""Where a run reports its metrics."""
