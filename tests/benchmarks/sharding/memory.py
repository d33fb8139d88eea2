"""Memory of one worker over many films: it must not grow.

    python -m tests.benchmarks.sharding.memory [--films 20000] [--side 256]

One process, not recycled, writes shards of films of changing size in three transfer syntaxes; its resident memory is
read after every shard. Compared are the medians of the second and of the last tenth of the run.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom

from data_prep.planning.shard_task import ShardTask
from data_prep.runtime.decode_process import Watch
from data_prep.runtime.progress import Progress
from data_prep.shard_format.dataset_card import ShardCard
from data_prep.sharding.shard_pool import Limits, write_shards
from data_prep.sharding.shard_writer import Unfinished, write_shard
from tests.builders.dicom_builder import write_film
from tests.builders.private_builder import anatomy
from tests.data_prep.film.test_decode import ENCODERS, packed
from tests.data_prep.sharding.test_shard_writer import facts

PER_SHARD = 100
ALLOWED = 1.05
"""Growth that counts as none: the allocator's noise."""
_SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90")


def films(folder: Path, side: int) -> list[tuple[Path, str]]:
    """Files and their transfer syntaxes; sizes differ, so that freed memory seldom fits again."""
    made = []
    for number, syntax in itertools.product(range(17), _SYNTAXES):
        path = folder / f"{number}-{syntax}.dcm"
        values = anatomy(number, side + 13 * number, side + 7 * (number % 5))
        write_film(path, values=values, window=(2048, 4096))
        if syntax in ENCODERS:
            path.write_bytes(packed(pydicom.dcmread(path), ENCODERS[syntax](values)))
        made.append((path, syntax))
    return made


def tasks(files: list[tuple[Path, str]], count: int) -> Iterator[ShardTask]:
    """Shards of PER_SHARD films."""
    source = itertools.cycle(files)
    for start in range(0, count, PER_SHARD):
        chosen = [(start + place, *next(source)) for place in range(PER_SHARD)]
        of_shard = [
            (str(path), facts(path, row, key=f"{row:032x}", transfer_syntax=syntax)) for row, path, syntax in chosen
        ]
        yield ShardTask("train-000000", "train", of_shard, 128, "c" * 64, "i" * 64)


def write_and_note(task: ShardTask, public: Path, watch: Watch) -> ShardCard | Unfinished:
    """For the worker: a shard, and how much memory is resident after it."""
    result = write_shard(task, public, watch)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    with (public / "resident").open("a", encoding="ascii") as file:
        file.write(f"{pages * 4096 / 2**20}\n")
    return result


def resident(count: int, side: int) -> list[float]:
    """MiB after every shard of ``count`` films."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        progress = Progress("memory", "films", count)
        limits = Limits(1, restart_after_files=10 * count)
        for result in write_shards(tasks(films(folder, side), count), folder, limits, write=write_and_note):
            if not isinstance(result, ShardCard) or result.films != PER_SHARD:
                raise AssertionError("a film was lost")
            progress.add(PER_SHARD)
        progress.close()
        return [float(line) for line in (folder / "resident").read_text(encoding="ascii").split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--films", type=int, default=20_000)
    parser.add_argument("--side", type=int, default=256)
    args = parser.parse_args()
    start = time.perf_counter()
    seen = np.array(resident(args.films, args.side))
    tenth = len(seen) // 10
    for number in range(10):
        part = seen[number * tenth : (number + 1) * tenth]
        print(f"tenth {number + 1:>2}   {np.median(part):8.1f} MiB   largest {part.max():8.1f}")
    ratio = float(np.median(seen[-tenth:]) / np.median(seen[tenth : 2 * tenth]))
    print(f"{args.films} films in {time.perf_counter() - start:.0f} s; ratio of last to second tenth: {ratio:.3f}")
    raise SystemExit(ratio > ALLOWED)


if __name__ == "__main__":
    main()
