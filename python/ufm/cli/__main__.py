"""``python -m ufm.cli`` is the same as ``ufm``."""

import sys

from ufm.cli import main

if __name__ == "__main__":
    sys.exit(main())
