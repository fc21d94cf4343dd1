"""Public benchmarks: their archives, and how these are downloaded."""
