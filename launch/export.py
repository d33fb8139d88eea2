"""``mae-rad export`` as a file, for launchers that start one."""

import sys

from mae_rad.cli.export import main

if __name__ == "__main__":
    sys.exit(main())
