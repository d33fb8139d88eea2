"""Exit codes, signals and error lines of all commands: an error of the user is one line, never a traceback."""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext

from data_prep.errors import DEBUG, UserError, unexpected
from data_prep.runtime.logging_setup import set_up_logging
from data_prep.runtime.process_limits import forbid_core_dump
from data_prep.runtime.secret_environment import without_secret

_NO_MEMORY = ("can't allocate memory", "Cannot allocate memory", "not enough memory", "bad_alloc")
_LOADER = "torch.utils.data"
"""Modules of torch that talk with loader processes."""
NEEDS_TRAINING = "needs the training extra: pip install 'mae_rad[train]'"


def run(action: Callable[[], object], *, needs_secret: bool = False) -> int:
    """Run a command and return its exit code.

    SIGTERM and SIGUSR1 end it with 143 and 138, unless the action installs handlers of its own.

    Args:
        action: the command. An ``int`` that it returns is the exit code; any other value means 0.
        needs_secret: whether the action makes pseudonyms; else it and its processes do not have the secret.

    Returns:
        The exit code of the action; 1 after an unexpected error, 2 after an error of the user, 130 after Ctrl-C.
    """
    set_up_logging()
    forbid_core_dump()
    for number in (signal.SIGTERM, signal.SIGUSR1):  # a queue may send either; open files are closed
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        with nullcontext() if needs_secret else without_secret():
            code = action()
    except UserError as error:
        rank, is_joined = os.environ.get("RANK", "0"), _has_joined_ranks()
        if rank == "0" or is_joined:  # before they join, all ranks raise the same error: reported once
            sys.stderr.write(f"{f'rank {rank}: ' if is_joined else ''}error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        code, text = _explain(error)
        sys.stderr.write(f"error: {text}\n")
        return code
    return code if isinstance(code, int) else 0


def _explain(error: Exception) -> tuple[int, str]:
    """Exit code and line of an error that is none of the user's."""
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith(("mae_rad", "data_prep")):
        return 2, f"this command {NEEDS_TRAINING} ({error.name} is not installed)"
    if _is_killed_worker(error):
        return 1, (
            "a process that reads films was killed, possibly for lack of memory. Use fewer runtime.workers, then run"
            " the same command again."
        )
    if is_out_of_memory(error):
        return 2, (
            "this machine or its GPU has run out of memory. Give smaller batches (batch_size, optimizer.batch) or fewer"
            " workers, then run the same command again."
        )
    return 1, unexpected(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: of Python, NumPy, the system, or of torch, which has no class for it on a CPU."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    is_of_torch = type(error).__name__ == "OutOfMemoryError" or any(words in str(error) for words in _NO_MEMORY)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and is_of_torch)


def _is_killed_worker(error: Exception) -> bool:
    """Whether a loader process has ended: torch reports it wherever the training then is, or its connection is cut."""
    if isinstance(error, ConnectionError | EOFError):
        frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
        return any(str(frame.f_globals.get("__name__")).startswith(_LOADER) for frame in frames)
    return isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker (pid")


def _has_joined_ranks() -> bool:
    if "torch" not in sys.modules:  # --help and wrong settings end before it is imported
        return False
    from torch import distributed  # noqa: PLC0415

    return distributed.is_initialized() and distributed.get_world_size() > 1
