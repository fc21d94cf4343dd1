"""``python -m zsl_lab.report``."""

import sys

from zsl_lab.report.command import main

if __name__ == "__main__":
    sys.exit(main())
