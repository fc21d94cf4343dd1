"""Loggers of a run: ``metrics.csv`` always, others by the group ``logger``."""
