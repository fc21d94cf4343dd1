"""``python -m zsl_lab``, and the console script ``zsl-lab``."""

import sys

from zsl_lab.cli.help import asks_for_help, help_text


def main() -> None:
    """Print the help if nothing else is asked for, else run the command."""
    if asks_for_help(sys.argv[1:]):
        print(help_text())  # noqa: T201
        return
    from zsl_lab.cli.main import main as run_command  # it needs Hydra

    run_command()


if __name__ == "__main__":
    main()
