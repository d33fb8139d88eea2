"""``mae-rad finetune`` as a file, for launchers that start one."""

import sys

from mae_rad.cli.finetune import main

if __name__ == "__main__":
    sys.exit(main())
