"""Writing files atomically, hashing them, and caching what was read."""
