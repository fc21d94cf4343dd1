"""``python -m zsl_lab.data``."""

import sys

from zsl_lab.cli.data.main import main

if __name__ == "__main__":
    sys.exit(main())
