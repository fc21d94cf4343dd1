"""``python -m zsl_lab.demo``."""

import sys

from zsl_lab.demo.command import main

if __name__ == "__main__":
    sys.exit(main())
