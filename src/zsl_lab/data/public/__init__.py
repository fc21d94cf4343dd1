"""Public benchmarks: where they are and how they are downloaded."""
