"""Benchmarks: class semantics, samples and splits, and batches of them."""
