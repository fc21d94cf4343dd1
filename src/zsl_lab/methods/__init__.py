"""Zero-shot learning methods, a folder each."""
