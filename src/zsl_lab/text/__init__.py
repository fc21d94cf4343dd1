"""Class descriptions as token states: frozen encoders, and the cache of their outputs."""

from zsl_lab.text.encoders import TextConfig, TokenStates, check_encoder, encode
from zsl_lab.text.packages import CONFIGURATION, Terms, choices

__all__ = [
    "CONFIGURATION",
    "Terms",
    "TextConfig",
    "TokenStates",
    "check_encoder",
    "choices",
    "encode",
]
