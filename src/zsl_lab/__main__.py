"""``python -m zsl_lab``, and the console script ``zsl-lab``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import zsl_lab
from zsl_lab.cli.help import asks_for_help, help_text

#: subcommands and the modules whose ``main`` they call; without one, arguments are overrides
COMMANDS = {
    "data": "zsl_lab.cli.data.main",
    "demo": "zsl_lab.demo.command",
    "export": "zsl_lab.cli.export",
    "report": "zsl_lab.report.command",
    "tune": "zsl_lab.cli.tune",
}
PREDICT = "predict"
_WRONG_COMMAND = 2


def main() -> None:
    """Print the help or the version, call a command, or run what the overrides say."""
    name, *rest = sys.argv[1:] or [""]
    if name == "--version":
        _print(f"zsl_lab {zsl_lab.__version__}")
    elif name in COMMANDS:
        sys.argv[1:] = rest
        sys.exit(import_module(COMMANDS[name]).main())
    elif asks_for_help(rest if name == PREDICT else sys.argv[1:]):
        _print(help_text())
    else:
        problem = _problem(name, rest)
        if problem is not None:
            print(problem, file=sys.stderr)  # noqa: T201
            sys.exit(_WRONG_COMMAND)
        if name == PREDICT:
            sys.argv[1:] = ["task=predict", *rest]
        from zsl_lab.cli.main import main as run_command  # it needs Hydra

        run_command()


def _print(text: str) -> None:
    try:
        print(text, flush=True)  # noqa: T201
    except BrokenPipeError:  # such as `| head`, which has read enough
        # Python writes the rest at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _problem(name: str, rest: Sequence[str]) -> str | None:
    """A message about an invalid command; None for a valid one and for overrides."""
    if name == PREDICT:
        task = next((argument for argument in rest if argument.startswith("task=")), None)
        if task not in (None, "task=predict"):
            return f"{task}: the command predict is task=predict. Leave one of the two out."
    elif name and not name.startswith(("-", "+", "~")) and "=" not in name:
        from zsl_lab.errors import nearest

        near = nearest(name, [*COMMANDS, PREDICT])
        hint = f" Did you mean {near[0]}?" if near else ""
        return (
            f"{name}: there is no such command.{hint} Commands: {', '.join([*COMMANDS, PREDICT])}. "
            "A run takes KEY=VALUE or GROUP=CHOICE instead of a command, such as method=sgal "
            "seed=1."
        )
    return None


if __name__ == "__main__":
    main()
