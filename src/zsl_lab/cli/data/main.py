"""``python -m zsl_lab.data``: runs the module of a command.

A module is imported only when its command is run, so that help stays fast.
"""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from types import FrameType
from typing import NamedTuple

from zsl_lab.console.messages import console, say, show_warning
from zsl_lab.errors import (
    ConfigError,
    TerminationError,
    ZslLabError,
    exit_code,
    interruption_code,
    nearest,
)

PROG = "python -m zsl_lab.data"


class Command(NamedTuple):
    """A command: its module, which has ``main(arguments) -> exit code``, and a line of help."""

    module: str
    help: str


COMMANDS = {
    "list": Command(
        "listing",
        "every dataset: its counts, its terms, which files are here and the command that gets the "
        "others",
    ),
    "info": Command("info", "one dataset: what its files hold, checked"),
    "download": Command("download", "fetch a benchmark from where it is published"),
    "convert": Command(
        "convert", "a benchmark from one form into another: HDF5, .mat, .npz, datasets, tables, ..."
    ),
    "compare": Command("compare", "whether two files hold the same features of the same images"),
    "extract": Command(
        "extract", "make a benchmark from a folder of images and a table of classes"
    ),
}
EXAMPLES = f"""\
examples:
  {PROG} list                            all datasets, which files are here
  {PROG} info flo --data-dir DIR         counts, ranges, split version, leaks
  {PROG} download awa2 --data-dir DIR    from the public sources, checked
  {PROG} convert DIR/AWA2 awa2.h5        one file that h5py alone can read
  {PROG} convert awa2.h5 FOLDER          and back
  {PROG} compare DIR/AWA2/res101.mat mine.h5   are these the published features?
  {PROG} extract --images DIR --classes classes.csv --backbone resnet50 my.h5
  python -m zsl_lab dataset.path=my.h5                            trains on it

`{PROG} COMMAND --help` explains one of them.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The command line; None for that of the process.

    Returns:
        The exit code: 0 for success, 1 for a failure, 2 for a wrong command, 130 if interrupted,
        143 after SIGTERM.
    """
    name, *rest = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
    warnings.showwarning = show_warning
    try:
        if name in ("--help", "-h"):
            _print_help()
            return 0
        if name not in COMMANDS:
            near = nearest(name, COMMANDS)
            hint = f"Did you mean {near[0]}?" if near else f"Commands: {', '.join(COMMANDS)}."
            raise ConfigError(f"{name}: there is no such command. {hint}")
        if arguments is None:
            signal.signal(signal.SIGTERM, _on_sigterm)
        code = import_module(f"zsl_lab.cli.data.{COMMANDS[name].module}").main(rest)
        assert isinstance(code, int)
        return code
    except ZslLabError as error:
        say(str(error))
        return exit_code(error)
    except KeyboardInterrupt as error:
        say("Interrupted. The same command goes on where that is possible.")
        return interruption_code(error)


def _print_help() -> None:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items()]
    console().print(
        f"usage: {PROG} COMMAND ...\n\ncommands:\n" + "\n".join(lines) + f"\n\n{EXAMPLES}",
        soft_wrap=True,
        end="",
    )


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(TerminationError.exit_code)
