"""Settings that no machine can run, refused before they fill the memory or take for ever."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zsl_lab.errors import ConfigError, TrainingError
from zsl_lab.methods.config import MethodConfig

#: training steps and checks that a phase may have
MAX_STEPS, MAX_CHECKS = 10**10, 10**6
#: parts of the messages of torch and NumPy for a number or an array that is too large
_TOO_LARGE = (
    "allocate memory",
    "out of memory",
    "not enough memory",
    "Unable to allocate",
    "overflow",
    "Overflow",
    "too large",
    "invalid array size",
    "array is too big",
    "Storage size calculation",
    "Trying to create tensor with negative dimension",
    "numel: integer multiplication",
)
#: settings that a message names
_MOST_SHOWN = 3


def check_steps(last: int, check_every: int) -> None:
    """Raise ConfigError where a phase has more steps or checks than can be planned."""
    if last > MAX_STEPS:
        raise ConfigError(
            f"method: {last} training steps in a phase; expected at most {MAX_STEPS}. Lower "
            "method.steps, or the key of the method that sets them."
        )
    if last // check_every > MAX_CHECKS:
        raise ConfigError(
            f"selection.check_every={check_every}: {last // check_every} checks in {last} training "
            f"steps; expected at most {MAX_CHECKS}. Raise selection.check_every, or lower "
            "method.steps."
        )


def check_batch(batch_size: int, dimension: int) -> None:
    """Raise ConfigError where one batch of samples alone does not fit the memory.

    Args:
        batch_size: Samples.
        dimension: Numbers of a sample.
    """
    needed, memory = 4 * batch_size * dimension, physical_memory()
    if memory is not None and needed > memory:
        raise ConfigError(
            f"method.batch_size={batch_size}: one batch needs {needed / 2**30:.1f} GiB, and this "
            f"machine has {memory / 2**30:.1f} GiB. Lower method.batch_size."
        )


def physical_memory() -> int | None:
    """Bytes of memory of this machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


@contextmanager
def out_of_memory(config: MethodConfig) -> Iterator[None]:
    """Turn an error about memory or a number that is too large into a sentence.

    Args:
        config: The method's settings, the largest of which the message names.

    Raises:
        TrainingError: There is not enough memory, or a size is too large for any machine.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OverflowError, ValueError, TypeError) as error:
        text = str(error)
        if not isinstance(error, MemoryError | OverflowError) and not any(
            part in text for part in _TOO_LARGE
        ):
            raise
        shown = ", ".join(f"{key}={value}" for key, value in _largest(config))
        raise TrainingError(
            f"out of memory ({text.splitlines()[0][:200] if text else type(error).__name__}). "
            f"The largest settings are {shown}: lower them, or use a machine with more memory."
        ) from error


def _largest(config: MethodConfig) -> list[tuple[str, int]]:
    sizes = sorted(_whole_numbers("method", config.model_dump()), key=lambda item: -item[1])
    named = [(key, value) for key, value in sizes if "steps" not in key]
    return named[:_MOST_SHOWN]


def _whole_numbers(key: str, value: Any) -> Iterator[tuple[str, int]]:
    if isinstance(value, int) and not isinstance(value, bool):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _whole_numbers(f"{key}.{name}", inner)
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from _whole_numbers(f"{key}.{i}", inner)
