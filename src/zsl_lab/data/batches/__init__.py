"""Data modules: the batches of one phase of training."""
