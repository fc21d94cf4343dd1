"""Features that are computed already: blocks of them, and parts that several processes made."""
