"""End a command before its n-th change to the disk, without any clean-up, and read what it left."""

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate", "shutil.rmtree"}
_KILLED = 9


def killed(number: int, folder: Path, action: Callable[[], object]) -> bool:
    """Whether a command, in a process of its own, came as far as its change ``number`` in a folder, at which it ends.

    A change is a file that is opened for writing, renamed, linked, truncated or removed, or a folder made or removed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads, which here do nothing
        child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, _KILLED), code
        return code == _KILLED
    changes = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal changes
        flags = arguments[2] if event == "open" else 0
        writes = isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))
        if (event in _CHANGES or writes) and str(arguments[0]).startswith(str(folder)):
            changes += 1
            if changes == number:
                os._exit(_KILLED)

    sys.addaudithook(count)
    try:
        action()
    finally:
        os._exit(0 if sys.exc_info()[0] is None else 1)


def run_whole(folder: Path, action: Callable[[], object]) -> None:
    """Run a command to its end in a process of its own: threads that it leaves here would stop the next fork."""
    assert not killed(sys.maxsize, folder, action)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file and empty folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}
