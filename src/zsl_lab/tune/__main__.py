"""``python -m zsl_lab.tune``."""

import sys

from zsl_lab.cli.tune import main

if __name__ == "__main__":
    sys.exit(main())
