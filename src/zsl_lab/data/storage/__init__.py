"""Storage of features while a run trains: in memory, or on disk and read in blocks."""
