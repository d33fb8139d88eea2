"""Kill an append before each single change to the disk, run the same command again, and compare the bytes.

    python -m tests.benchmarks.sharding.append_kills [--every 1]

Three cases: new films; new files of which none is a film; a generation with a damaged shard. The process leaves without
any clean-up at the n-th file that it opens for writing, renames or removes, for every n (or every EVERY-th).
"""

import argparse
import logging
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import pytest

from data_prep.sharding.append import append
from data_prep.sharding.shard import shard
from tests.builders.dicom_builder import write_film
from tests.builders.private_builder import anatomy, make_private, settings
from tests.data_prep.sharding.test_append import rescan, write_study

_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}
_KILLED = 9


def prepare(folder: Path, case: str) -> Path:
    """A scan with news for the shards in ``folder/before``."""
    with pytest.MonkeyPatch.context() as patch:
        private = make_private(folder, patch)
        shard(private, folder / "before", settings())
        if case == "no films":
            broken = folder / "archive" / "broken.dcm"
            write_film(broken, values=anatomy("broken"))
            broken.write_bytes(broken.read_bytes()[:-2000])
        else:
            write_study(folder / "archive", 50, study="new", names=("PA", "LL"))
        rescan(private)
    if case == "damage":
        append(private, folder / "before", settings())
        shutil.copytree(folder / "before", folder / "whole")
        next((folder / "before" / "generation-001").glob("*-*.json")).unlink()
    else:
        shutil.copytree(folder / "before", folder / "whole")
        append(private, folder / "whole", settings())
    return private


def tree(folder: Path) -> dict[str, bytes]:
    """Every file and empty folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def killed(number: int, private: Path, public: Path) -> bool:
    """Whether an append in a process of its own came as far as its change ``number``, at which it ends."""
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
        if (event in _CHANGES or writes) and str(arguments[0]).startswith(str(public)):
            changes += 1
            if changes == number:
                os._exit(_KILLED)

    sys.addaudithook(count)
    try:
        append(private, public, settings())
    finally:
        os._exit(0 if sys.exc_info()[0] is None else 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1)
    every = parser.parse_args().every
    logging.disable(logging.CRITICAL)
    for case in ("films", "no films", "damage"):
        with tempfile.TemporaryDirectory() as name:
            private, public = prepare(Path(name), case), Path(name) / "public"
            number, kills = every, 0
            while killed(number, private, Path(shutil.copytree(Path(name) / "before", public))):
                append(private, public, settings())
                assert tree(public) == tree(Path(name) / "whole"), f"{case}: other files after change {number}"
                shutil.rmtree(public)
                number, kills = number + every, kills + 1
        print(f"{case}: {kills} kills, the same bytes after each")
        assert kills > 1


if __name__ == "__main__":
    main()
