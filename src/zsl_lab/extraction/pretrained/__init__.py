"""Pretrained networks that are named with a prefix, each with its own preprocessing."""
