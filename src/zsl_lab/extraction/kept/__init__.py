"""Kept features: stored blocks of an unfinished extraction, and parts made by several processes."""
