"""What a person reads of a run: the result table and the figures."""
