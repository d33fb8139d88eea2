"""``mae-rad pairs`` as a script, for launchers that need a file."""

import sys

from mae_rad.cli.pairs import main

if __name__ == "__main__":
    sys.exit(main())
