"""``python -m zsl_lab.data``."""

import sys

from zsl_lab.data.tool.main import main

if __name__ == "__main__":
    sys.exit(main())
