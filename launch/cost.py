"""``mae-rad cost`` as a file, for launchers that start one."""

import sys

from mae_rad.cli.cost import main

if __name__ == "__main__":
    sys.exit(main())
