"""Files that a run writes beside its result: metrics, predictions, trade-off and figures."""
