"""Output on the terminal, and parsing of command lines."""
