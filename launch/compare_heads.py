"""``mae-rad compare-heads`` as a file, for launchers that start one."""

import sys

from mae_rad.cli.compare_heads import main

if __name__ == "__main__":
    sys.exit(main())
