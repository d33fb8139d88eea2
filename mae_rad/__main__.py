"""``python -m mae_rad``: the command ``mae-rad``."""

import sys

from mae_rad.cli.main import main

if __name__ == "__main__":  # spawned workers import this module too
    sys.exit(main())
