"""Memory of a scan, without what the reading processes need: rows of generated headers, by steps.

    python -m tests.benchmarks.sharding.scan_memory [--files 200000]

Baseline is the table of all headers in memory. Counted is anonymous memory (RssAnon), since pages of mapped files are
given back when others need them. The scan that is timed and the one after it, which finds nothing changed, run in
processes of their own.
"""

import argparse
import hashlib
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_prep.archive.file_listing import ArchiveFile
from data_prep.archive.header_cache import HEADERS_SCHEMA
from data_prep.archive.header_pool import FILES_PER_TASK, Chunk, _tasks
from data_prep.scan import scan as scan_module
from data_prep.scan.settings import ScanSettings

KIB_PER_FILE = 1.5
"""A million files in 1.5 GiB, of the 2 GiB that planning has."""


def listed(count: int) -> list[ArchiveFile]:
    """What listing an archive gives."""
    names = (f"{row // 50000:03d}/study{row // 4:08d}/series{row // 2:08d}/image{row:09d}.dcm" for row in range(count))
    return [ArchiveFile("/mnt/pacs/archive/" + name, name) for name in names]


def headers(files: list[ArchiveFile], start: int) -> pa.Table:
    """Rows as a worker sends them: four films a study, two studies a patient."""
    numbers = np.arange(start, start + len(files))

    def keys(domain: str, of: Any) -> pa.Array:
        return pa.array([hashlib.sha256(f"{domain}{number}".encode()).hexdigest()[:32] for number in of.tolist()])

    def uids(domain: int, of: Any) -> pa.Array:
        return pa.array([f"1.2.826.0.1.3680043.8.498.{domain}.{number:036d}" for number in of.tolist()])

    columns: dict[str, Any] = {field.name: pa.nulls(len(files), field.type) for field in HEADERS_SCHEMA}
    columns |= {name: pa.array([word] * len(files)) for name, word in {
        "source": "dicom", "transfer_syntax": "1.2.840.10008.1.2.4.70", "photometric": "MONOCHROME2",
        "presentation_intent": "FOR PRESENTATION", "body_part": "CHEST", "view": "PA", "sex": "F",
        "manufacturer": "SIEMENS", "model": "Axiom", "pixel_spacing_from": "PixelSpacing", "issuer": "NORTH",
    }.items()}  # fmt: skip
    columns |= {
        "path": pa.array([file.path for file in files]), "below": pa.array([file.below for file in files]),
        "mtime_ns": pa.array(np.full(len(files), 10**18)), "file_size": pa.array(numbers + 10**6),
        "key": keys("film", numbers), "study": keys("study", numbers // 4), "series": keys("series", numbers // 2),
        "site": keys("site", numbers % 20), "patient_id": pa.array([f"MRN{number // 8:08d}" for number in numbers]),
        "study_date": pa.array([date(2020, 1, 1 + number // 4 % 28) for number in numbers.tolist()]),
        "sop_instance_uid": uids(1, numbers), "series_uid": uids(2, numbers // 2), "study_uid": uids(3, numbers // 4),
        "accession": pa.array([f"A{number // 4:08d}" for number in numbers]),
        "acquired": pa.array([f"20200101{number:06d}" for number in numbers]),
        "rows": pa.array(np.full(len(files), 3000, np.int32)), "columns": pa.array(np.full(len(files), 2500, np.int32)),
        "bits_stored": pa.array(np.full(len(files), 12, np.int16)),
        "age_years": pa.array(np.full(len(files), 44, np.int16)),
        "pixel_spacing_mm": pa.array([[0.143, 0.143]] * len(files), pa.list_(pa.float32())),
    }  # fmt: skip
    return pa.table(columns, HEADERS_SCHEMA)


def _generated(files: list[ArchiveFile], known: pa.Table, *_: object) -> Iterator[Chunk]:
    start = 0
    for task in _tasks(files, known):
        if task.known.num_rows == len(task.files):
            yield Chunk(task.known, 0)
        else:
            yield Chunk(headers(list(task.files), start), len(task.files))
        start += FILES_PER_TASK


def _gib(name: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition(f"{name}:")[2].split()[0]) / 2**20


def _measure(private: Path, count: int, what: str) -> None:
    os.environ["MAE_RAD_KEY"] = "the secret of this benchmark"
    before = _gib("RssAnon")
    if what == "baseline":
        files = listed(count)
        parts = [headers(files[start : start + FILES_PER_TASK], start) for start in range(0, count, FILES_PER_TASK)]
        table = pa.concat_tables(parts)
        _tell(what, count, _gib("RssAnon") - before, f"{table.nbytes / count / 1024:.2f} KiB of columns a file")
        return
    most: dict[str, float] = {}
    step, done = "listing", threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            most[step] = max(most.get(step, 0.0), _gib("RssAnon") - before)

    def named(name: str) -> None:
        whole = getattr(scan_module, name)

        def call(*values: Any, **options: Any) -> Any:
            nonlocal step
            step = name.strip("_")
            return whole(*values, **options)

        setattr(scan_module, name, call)

    replaced: dict[str, Any] = {"list_files": lambda archives: listed(count), "read_all_headers": _generated}
    for name, function in replaced.items():
        setattr(scan_module, name, function)
    for name in ("read_all_headers", "patients", "twins", "_screen_models", "write_manifest", "summarise"):
        named(name)
    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    print(scan_module.scan([Path("/nowhere")], private, ScanSettings(workers=1)).changes or "first scan")
    done.set()
    watcher.join()
    for name, gib in most.items():
        _tell(f"  {name}", count, gib, "")
    largest = max(most.values())
    _tell(
        what, count, largest, f"{time.perf_counter() - start:.0f} s, all mapped pages counted {_gib('VmHWM'):.2f} GiB"
    )
    ratio = largest * 2**20 / count / KIB_PER_FILE
    print(f"ratio {ratio:.2f} of {KIB_PER_FILE} KiB a file {'holds' if ratio <= 1 else 'FALLS SHORT'}")
    raise SystemExit(ratio > 1)


def _tell(name: str, count: int, gib: float, note: str) -> None:
    print(f"{name:<18}{gib:7.3f} GiB {gib * 2**20 / count:7.2f} KiB a file  {note}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=200_000)
    count = parser.parse_args().files
    codes = []
    with tempfile.TemporaryDirectory() as name:
        for what in ("baseline", "scan", "scan again"):
            process = multiprocessing.get_context("spawn").Process(
                target=_measure, args=(Path(name) / "private", count, what)
            )
            process.start()
            process.join()
            codes.append(process.exitcode)
    raise SystemExit(any(codes))


if __name__ == "__main__":
    main()
