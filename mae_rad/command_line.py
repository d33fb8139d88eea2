"""What the commands share: a user's mistake becomes one clear line, never a traceback."""

import os
import signal
import sys
from collections.abc import Callable

from data_prep.errors import DEBUG, UserError, unexpected
from data_prep.runtime.logging_setup import set_up_logging

NEEDS_TRAINING = "needs the training extra: pip install 'mae_rad[train]'"


def run(action: Callable[[], object]) -> int:
    """Run a command and return its exit code: what it returns, if that is one, or 0; 1 unexpected, 2 a mistake that the
    user can mend, 130 interrupted.

    SIGTERM and SIGUSR1 end it with 143 and 138, where the action does not hear them itself.
    """
    set_up_logging()
    for number in (signal.SIGTERM, signal.SIGUSR1):  # a queue may send either; so that what is open is closed
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        code = action()
    except UserError as error:
        rank, together = os.environ.get("RANK", "0"), _ranks_have_met()
        if rank == "0" or together:  # before they meet, all ranks fail alike: said once
            sys.stderr.write(f"{f'rank {rank}: ' if together else ''}error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith(("mae_rad", "data_prep")):
            sys.stderr.write(f"error: this command {NEEDS_TRAINING} ({error.name} is not installed)\n")
            return 2
        sys.stderr.write(f"error: {unexpected(error)}\n")
        return 1
    return code if isinstance(code, int) else 0


def _ranks_have_met() -> bool:
    if "torch" not in sys.modules:  # --help and wrong settings come without it
        return False
    from torch import distributed  # noqa: PLC0415

    return distributed.is_initialized() and distributed.get_world_size() > 1
