"""Kill scan, label and remove before each single change to the disk, run the same command again, and compare the bytes.

    python -m tests.benchmarks.sharding.step_kills [--every 1] [--only remove]

The process leaves without any clean-up at the n-th file that it opens for writing, renames, links or removes, for every
n (or every EVERY-th). What ``shard`` and ``append`` do is killed by ``kills`` and ``append_kills``.
"""

import argparse
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from data_prep.errors import SettingsError
from data_prep.labels.write_labels import LabelFiles, write_labels
from data_prep.runtime.atomic_write import is_temporary
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from data_prep.sharding.remove import remove
from data_prep.sharding.shard import shard
from tests.benchmarks.sharding.kill_at_change import killed, run_whole
from tests.benchmarks.sharding.kill_at_change import tree as all_files
from tests.builders.private_builder import SECRET, make_private, settings, write_archive


def _scan(folder: Path) -> None:
    scan([folder / "archive"], folder / "private", ScanSettings(workers=1))


def _label(folder: Path) -> None:
    files = LabelFiles([folder / "labels.csv"], [folder / "boxes.csv"])
    write_labels(folder / "private", folder / "public", files)


def _remove(folder: Path) -> None:
    try:
        remove(folder / "public", folder / "list.txt", folder / "private")
    except SettingsError as error:  # all of it was done before the kill
        if "none of" not in str(error):
            raise


ACTIONS: dict[str, Callable[[Path], None]] = {"scan": _scan, "label": _label, "remove": _remove}


def prepare(folder: Path, action: str) -> None:
    """What is there before a command, in ``folder``."""
    folder.mkdir()
    if action == "scan":
        write_archive(folder / "archive", 2)
        return
    with pytest.MonkeyPatch.context() as patch:
        shard(make_private(folder, patch), folder / "public", settings())
    names = [f"p{number}/{view}.dcm" for number in range(6) for view in ("PA", "LL")]
    (folder / "labels.csv").write_text("path,label,value\n" + "".join(f"{name},fracture,present\n" for name in names))
    edges = "path,label,x_min,y_min,x_max,y_max\n"
    (folder / "boxes.csv").write_text(edges + "".join(f"{name},fracture,1,2,30,40\n" for name in names))
    (folder / "list.txt").write_text("MRN-0417-2\n")
    if action == "remove":
        _label(folder)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file and empty folder, except the cache of headers and temporary files of the private folder."""
    files = all_files(folder)
    left_out = {name for name in files if name.startswith("private/") and is_temporary(Path(name))}
    return {name: data for name, data in files.items() if name not in {*left_out, "private/headers.arrow"}}


def kill_at_each_change(action: str, root: Path, every: int = 1) -> int:
    """Number of kills of a command, after each of which the same command has made the same bytes.

    Raises:
        AssertionError: the bytes differ.
    """
    run_whole(root, partial(prepare, root / "work", action))  # always at the same place: the private folder holds paths
    shutil.copytree(root / "work", root / "before")
    run_whole(root / "work", partial(ACTIONS[action], root / "work"))
    whole = tree(root / "work")
    number, kills = every, 0
    while True:
        shutil.rmtree(root / "work")
        shutil.copytree(root / "before", root / "work")
        if not killed(number, root / "work", partial(ACTIONS[action], root / "work")):
            return kills
        run_whole(root / "work", partial(ACTIONS[action], root / "work"))
        found = tree(root / "work")
        assert found == whole, f"{action}: other files after change {number}: {sorted(_differing(found, whole))}"
        number, kills = number + every, kills + 1


def _differing(found: dict[str, bytes], whole: dict[str, bytes]) -> set[str]:
    return {name for name in found | whole if found.get(name) != whole.get(name)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--only", choices=list(ACTIONS))
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    os.environ["MAE_RAD_KEY"] = SECRET
    for action in ACTIONS:
        if args.only in (None, action):
            with tempfile.TemporaryDirectory() as name:
                kills = kill_at_each_change(action, Path(name), args.every)
            print(f"{action}: {kills} kills, the same bytes after each", flush=True)
            assert kills > 1


if __name__ == "__main__":
    main()
