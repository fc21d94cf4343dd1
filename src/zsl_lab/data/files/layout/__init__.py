"""The layout of a benchmark file: its content, the reader of its fields, and its seal."""
