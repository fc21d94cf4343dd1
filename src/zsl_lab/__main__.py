"""``python -m zsl_lab``."""

from zsl_lab.cli.main import main

if __name__ == "__main__":
    main()
