"""Files: atomic writes, hashes, checked reading of untrusted files, and caches."""
