"""Census and report of a large archive: time and memory, against five minutes and 2 GiB.

    python -m tests.benchmarks.sharding.report_size [--files 100000]

The manifest is that of ``million_plan``, with the headers of a scan beside it; the index has what the shards of such an
archive would have, with hashes of which some are near each other. All rows refer to a few real shards, so that the
sampled films are read and decoded as they would be. Making these does not count: census and report run in processes of
their own.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.archive.manifest import HEADERS_FILE, with_fingerprint, write_manifest
from data_prep.dataset_report.census import compute_census
from data_prep.dataset_report.near_duplicates import HASH, pixel_checksum_column
from data_prep.dataset_report.report_page import MAX_PAGE_BYTES, write_report
from data_prep.sharding.shard import shard
from tests.benchmarks.sharding.million_plan import generated
from tests.builders.private_builder import make_private, settings

SECONDS, GIB = 300, 2
_COPIED = ("patient", "study", "series", "site", "patient_known", "study_day", "body_part", "view", "laterality", "sex",
           "age_years", "manufacturer", "model", "bits_stored", "photometric", "presentation_intent", "rows", "columns",
           "pixel_spacing_mm", "pixel_spacing_from")  # fmt: skip


def index_of(manifest: pa.Table, real: pa.Table) -> pa.Table:
    """An index with a row per row of the manifest, whose films are those of ``real`` in turn."""
    draw = np.random.default_rng(0)
    count = manifest.num_rows
    index = real.take(pa.array(np.arange(count) % real.num_rows))
    given: dict[str, pa.Array] = {name: manifest[name] for name in _COPIED}
    given["key"] = pa.array([hashlib.sha256(f"key{row}".encode()).hexdigest()[:32] for row in range(count)])
    given[pixel_checksum_column(real)] = pa.array(
        [hashlib.sha256(f"pixels{row}".encode()).hexdigest() for row in range(count)]
    )
    given["source_rows"], given["source_columns"] = manifest["rows"], manifest["columns"]
    given["split"] = pa.array(np.array(["train", "val", "test"])[(np.arange(count) // 4) % 10 // 8])
    given["polarity_suspect"] = pa.array(draw.random(count) < 0.01)
    hashes = draw.integers(0, 2**64, count, dtype=np.uint64)
    hashes[1::50] = hashes[:-1:50][: len(hashes[1::50])] ^ np.uint64(0b1001)
    given[HASH] = pa.array(hashes)
    for name in ("clipped_low", "clipped_high"):
        given[name] = pa.array(draw.beta(0.3, 20, count).astype(np.float32))
    for name, column in given.items():
        place = index.schema.get_field_index(name)
        index = index.append_column(name, column) if place < 0 else index.set_column(place, name, column)
    return index


def make(folder: Path, files: int) -> None:
    """``folder/private``, ``folder/public`` as of an archive with so many files."""
    with pytest.MonkeyPatch.context() as patch:
        private = make_private(folder / "small", patch)
        shard(private, folder / "public", settings())
    public = folder / "public"
    manifest, linkage = generated(files)
    card = json.loads((public / "dataset.json").read_text(encoding="utf-8"))
    write_manifest(folder / "private", with_fingerprint(manifest, card["key_fingerprint"]), linkage)
    dates = pa.array(np.random.default_rng(0).integers(10_000, 20_000, files).astype(np.int32), pa.date32())
    table = pa.table({"path": linkage["path"], "study_date": dates})
    with pa.ipc.new_stream(folder / "private" / HEADERS_FILE, table.schema) as stream:
        stream.write_table(table)
    pq.write_table(index_of(manifest, pq.read_table(public / "index.parquet")), public / "index.parquet")


def _measured(name: str, work: Callable[[], object]) -> None:
    start = time.perf_counter()
    work()
    seconds, gib = time.perf_counter() - start, _gib()
    of = f"{seconds / SECONDS:.3f} of {SECONDS} s, {gib / GIB:.2f} of {GIB} GiB"
    print(f"{name:<16}{seconds:7.1f} s  {gib:5.2f} GiB  ratio {of}")
    if seconds > SECONDS or gib > GIB:
        raise SystemExit(1)


def _gib() -> float:
    """The most that this process has held so far."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**20


def _census(name: str, folder: Path) -> None:
    _measured(name, lambda: str(compute_census(folder)))


def _report(name: str, folder: Path, private: bool) -> None:
    out = folder / ("private/report.html" if private else "report.html")
    _measured(name, lambda: write_report(folder / "public", out, private=folder / "private" if private else None))
    print(f"{'':16}{out.stat().st_size / 1e6:7.2f} MB")
    if out.stat().st_size > MAX_PAGE_BYTES:
        raise SystemExit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    files = parser.parse_args().files
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, files)
        print(f"{files:,} entries, {os.cpu_count()} cores")
        for work, args in (
            (_census, ("census private", folder / "private")),
            (_census, ("census public", folder / "public")),
            (_report, ("report", folder, False)),
            (_report, ("report private", folder, True)),
        ):
            process = spawn.Process(target=work, args=args)
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
