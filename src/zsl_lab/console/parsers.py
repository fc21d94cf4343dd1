"""The parser of the tools' command lines; an error for an unknown option names the nearest one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from zsl_lab.errors import ConfigError, nearest


class Parser(argparse.ArgumentParser):
    """Raises :class:`ConfigError` instead of ending the process.

    Args:
        prog: The command, as it is typed.
        description: Description of the command; line breaks are kept.
        epilog: Examples; line breaks are kept.
    """

    def __init__(self, prog: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise a problem that argparse found as a :class:`ConfigError`."""
        raise ConfigError(
            f"{message[0].upper()}{message[1:]}. `{self.prog} --help` shows examples."
        )

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse options and positional arguments in any order.

        Raises:
            ConfigError: If an argument is missing or wrong, or an option is unknown.
        """
        options, unknown = self.parse_known_intermixed_args(arguments)
        if unknown:
            name = unknown[0].partition("=")[0]
            if not name.startswith("-"):
                self.error(f"found {name}, which is one argument too many")
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
