"""The configuration of a run: its keys, what was stored of it, and its limits."""
