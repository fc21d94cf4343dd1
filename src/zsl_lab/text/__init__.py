"""Class descriptions as token states: frozen encoders, and the cache of what they found."""

from zsl_lab.text.encoders import TextConfig, TokenStates, encode

__all__ = ["TextConfig", "TokenStates", "encode"]
