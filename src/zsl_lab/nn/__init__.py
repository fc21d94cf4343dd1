"""Building blocks that several methods share; plain torch, testable without Lightning."""
