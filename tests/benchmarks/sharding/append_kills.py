"""Kill an append before each single change to the disk, run the same command again, and compare the bytes.

    python -m tests.benchmarks.sharding.append_kills [--every 1]

Three cases: new films; new files of which none is a film; a generation with a damaged shard. The process leaves without
any clean-up at the n-th file that it opens for writing, renames or removes, for every n (or every EVERY-th).
"""

import argparse
import logging
import shutil
import tempfile
from functools import partial
from pathlib import Path

import pytest

from data_prep.sharding.append import append
from data_prep.sharding.shard import shard
from tests.benchmarks.sharding.kill_at_change import killed, tree
from tests.builders.dicom_builder import write_film
from tests.builders.private_builder import anatomy, make_private, settings
from tests.data_prep.sharding.test_append import rescan, write_study


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1)
    every = parser.parse_args().every
    logging.disable(logging.CRITICAL)
    for case in ("films", "no films", "damage"):
        with tempfile.TemporaryDirectory() as name:
            private, public = prepare(Path(name), case), Path(name) / "public"
            number, kills = every, 0
            again = partial(append, private, public, settings())
            while killed(number, Path(shutil.copytree(Path(name) / "before", public)), again):
                again()
                assert tree(public) == tree(Path(name) / "whole"), f"{case}: other files after change {number}"
                shutil.rmtree(public)
                number, kills = number + every, kills + 1
        print(f"{case}: {kills} kills, the same bytes after each")
        assert kills > 1


if __name__ == "__main__":
    main()
