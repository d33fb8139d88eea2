"""What the commands in ``launch`` share: a user's mistake becomes one clear line, never a traceback."""

import logging
import os
import sys
from collections.abc import Callable

from mae_rad.errors import UserError


def run(action: Callable[[], object]) -> int:
    """Run a command and return its exit code: 0, or 2 after a mistake that the user can mend, 130 when interrupted."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        action()
    except UserError as error:
        if os.environ.get("RANK", "0") == "0":  # said once, not once per rank
            sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
