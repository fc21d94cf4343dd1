"""The layout of a benchmark file: its content, its fields as they are read, and its seal."""
