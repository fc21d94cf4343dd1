"""Command lines of the tools beside the runs: a wrong word ends in a sentence that names the near match."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from rich.console import Console

from zsl_lab.errors import ConfigError, ZslLabError, nearest


class Parser(argparse.ArgumentParser):
    """Raises :class:`ConfigError` instead of ending the process; descriptions and examples stay as they are written."""

    def __init__(self, prog: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise what argparse has found."""
        raise ConfigError(
            f"{message[0].upper()}{message[1:]}. `{self.prog} --help` shows examples."
        )

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Options and places in any order.

        Raises:
            ConfigError: Something is missing, or an option is unknown.
        """
        options, unknown = self.parse_known_intermixed_args(arguments)
        if unknown:
            name = unknown[0].partition("=")[0]
            if not name.startswith("-"):
                self.error(f"found {name}, which is one word too many")
            known = [
                option
                for action in self._actions
                for option in action.option_strings
                if option.startswith("--")
            ]
            near = nearest(name, known)
            hint = f"Did you mean {near[0]}?" if near else f"Options: {', '.join(known)}."
            raise ConfigError(f"{name}: there is no such option. {hint}")
        return options


def exit_code(error: ZslLabError) -> int:
    """What a command ends with: 2 for a wrong command, 1 for anything else that the user can mend."""
    return 2 if isinstance(error, ConfigError) else 1


def console(*, stderr: bool = False) -> Console:
    """Where to print; names and paths are printed as they are: "[" begins no markup."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def say(sentence: str) -> None:
    """Print to standard error."""
    console(stderr=True).print(sentence, soft_wrap=True)
