"""Plan a generated manifest of a million files, and what its last NEW add to shards of the others: time and memory.

    python -m tests.benchmarks.sharding.million_plan [--files 1000000]

The manifest has what a large archive has: four films a patient, every column filled, one file in twenty no film, one in
a hundred a second file of the same film. It is written to disk first and read back in a process of its own, so that
making it does not count.
"""

import argparse
import hashlib
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.archive.manifest import LINKAGE_SCHEMA, MANIFEST_SCHEMA, with_fingerprint, write_manifest
from data_prep.planning.films_already_sharded import EarlierFilms
from data_prep.planning.plan_inputs import read_inputs
from data_prep.planning.settings import ShardSettings
from data_prep.planning.splits import draw_split
from data_prep.shard_format.dataset_card import DatasetCard, FileCounts
from data_prep.shard_format.folder_layout import FORMAT_VERSION
from data_prep.shard_format.index import read_index, same_pixels_across
from data_prep.shard_format.index_schema import INDEX_SCHEMA

SECONDS, GIB = 60, 2
NEW = 10_000


def generated(files: int) -> tuple[pa.Table, pa.Table]:
    """Manifest and linkage of ``files`` files."""
    draw = np.random.default_rng(0)
    rows = np.arange(files)
    film = np.where(rows % 100 == 99, rows - 1, rows)

    def keys(domain: str, numbers: np.ndarray) -> pa.Array:  # type: ignore[type-arg]
        text = {
            number: hashlib.sha256(f"{domain}{number}".encode()).hexdigest()[:32] for number in set(numbers.tolist())
        }
        return pa.array([text[number] for number in numbers.tolist()])

    def words(*choice: str | None) -> pa.Array:
        return pa.array(choice, pa.string()).take(pa.array(draw.integers(0, len(choice), files)))

    columns = {field.name: pa.nulls(files, field.type) for field in MANIFEST_SCHEMA}
    columns |= {
        "row": pa.array(rows), "source": words("dicom"), "file_size": pa.array(draw.integers(10**6, 2 * 10**7, files)),
        "reason": pa.array([None if row % 20 else "not_a_radiograph" for row in rows.tolist()]),
        "key": keys("film", film), "patient": keys("patient", film // 4), "study": keys("study", film // 2),
        "series": keys("series", film), "site": words(*(f"{number:032x}" for number in range(20))),
        "patient_known": pa.array(draw.random(files)[film // 4] < 0.99),
        "study_day": pa.array(draw.integers(0, 40_000, files).astype(np.int32)),
        "transfer_syntax": words("1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.1"),
        "rows": pa.array(draw.choice([2140, 3000, 2500], files).astype(np.int32)),
        "columns": pa.array(draw.choice([1760, 2500, 3000], files).astype(np.int32)),
        "bits_stored": pa.array(np.full(files, 12, np.int16)), "photometric": words("MONOCHROME1", "MONOCHROME2"),
        "presentation_intent": words("FOR PRESENTATION"), "body_part": words("CHEST", "HAND", "KNEE", None),
        "view": words("PA", "AP", "LATERAL"), "laterality": words("L", "R", None), "sex": words("F", "M"),
        "age_years": pa.array(draw.integers(0, 90, files).astype(np.int16)),
        "manufacturer": words("SIEMENS", "PHILIPS", "FUJIFILM"), "model": words("Axiom", "DigitalDiagnost", None),
        "pixel_spacing_mm": pa.array([[0.143, 0.143]] * files, pa.list_(pa.float32())),
        "pixel_spacing_from": words("PixelSpacing", "ImagerPixelSpacing"),
    }  # fmt: skip
    linkage = {field.name: pa.nulls(files, field.type) for field in LINKAGE_SCHEMA}
    linkage |= {"row": columns["row"], "key": columns["key"]}
    linkage["path"] = pa.array(
        [f"/archive/{row // 1000:06d}/study{row // 2:08d}/image{row:09d}.dcm" for row in range(files)]
    )
    for name in ("sop_instance_uid", "series_uid", "study_uid"):
        linkage[name] = pa.array([f"1.2.826.0.1.3680043.8.498.{row:039d}" for row in range(files)])
    return pa.table(columns, MANIFEST_SCHEMA), pa.table(linkage, LINKAGE_SCHEMA)


def _measure(private: Path, public: Path) -> None:
    before = _gib()
    start = time.perf_counter()
    inputs = read_inputs(private, public, ShardSettings())
    planned = time.perf_counter() - start
    print(f"before       {before:6.2f} GiB")
    print(f"read, plan   {planned:6.1f} s  {_gib():6.2f} GiB  {len(inputs.plan.shards)} shards")
    from data_prep.planning.known_failures import KnownFailures

    start = time.perf_counter()
    count = sum(len(task.files) for task in inputs.tasks(inputs.plan.shards, KnownFailures()))
    print(f"all tasks    {time.perf_counter() - start:6.1f} s  {_gib():6.2f} GiB  {count} files")
    print(f"ratio        {planned / SECONDS:6.2f} of {SECONDS} s, {_gib() / GIB:.2f} of {GIB} GiB")
    if planned > SECONDS or _gib() > GIB:
        raise SystemExit(1)


def write_earlier(manifest: pa.Table, public: Path) -> None:
    """A complete public folder whose index holds all films of ``manifest``; it has no shards."""
    films = manifest.filter(pc.is_null(manifest["reason"]))
    films = films.take(np.unique(films["key"].combine_chunks().dictionary_encode().indices, return_index=True)[1])
    columns = {name: films[name] for name in INDEX_SCHEMA.names if name in films.column_names}
    columns |= {field.name: pa.nulls(len(films), field.type) for field in INDEX_SCHEMA if field.name not in columns}
    digests = [hashlib.sha256(key.encode()).hexdigest() for key in films["key"].to_pylist()]
    columns |= {"source_rows": films["rows"], "source_columns": films["columns"], "pixel_sha256": pa.array(digests)}
    settings = ShardSettings()
    val, test = settings.splits.val, settings.splits.test
    patients = zip(films["patient"].to_pylist(), films["patient_known"].to_pylist(), strict=True)
    columns["split"] = pa.array([draw_split(patient, settings.seed, val, test, known) for patient, known in patients])
    public.mkdir()
    pq.write_table(
        pa.table({name: columns[name] for name in INDEX_SCHEMA.names}, INDEX_SCHEMA), public / "index.parquet"
    )
    card = DatasetCard(
        format_version=FORMAT_VERSION, dataset_sha256="0" * 64, config={}, config_sha256="0" * 64,
        key_fingerprint="0" * 32, files=FileCounts(written=len(films), rejected=0, dropped=0), reasons={}, films={},
        patients={}, shards={}, deidentification={},
    )  # fmt: skip
    (public / "dataset.json").write_text(card.model_dump_json(), encoding="utf-8")


def _measure_append(private: Path, public: Path) -> None:
    """Plan what NEW further files of a scan of everything add to a folder that holds the rest."""
    print(f"before       {_gib():6.2f} GiB")
    start = time.perf_counter()
    earlier = EarlierFilms.read([public], private)
    inputs = read_inputs(private, public.parent / "next", ShardSettings(), earlier)
    planned = time.perf_counter() - start
    files = sum(len(one.rows) for one in inputs.plan.shards)
    print(f"append       {planned:6.1f} s  {_gib():6.2f} GiB  {files} new files")
    del earlier, inputs
    start = time.perf_counter()
    films = read_index(public)
    halves = same_pixels_across([films.slice(0, len(films) - NEW), films.slice(len(films) - NEW)])
    print(f"equal pixels {time.perf_counter() - start:6.1f} s  {_gib():6.2f} GiB  {sum(map(len, halves))} films")
    print(f"ratio        {planned / SECONDS:6.2f} of {SECONDS} s, {_gib() / GIB:.2f} of {GIB} GiB")
    if planned > SECONDS or _gib() > GIB:
        raise SystemExit(1)


def _gib() -> float:
    """The most that this process has held so far."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1_000_000)
    files = parser.parse_args().files
    with tempfile.TemporaryDirectory() as name:
        private, public = Path(name) / "private", Path(name) / "public"
        manifest, linkage = generated(files)
        write_manifest(private, with_fingerprint(manifest, "0" * 32), linkage)
        write_earlier(manifest.slice(0, files - NEW), public)
        del manifest, linkage
        codes = []
        for measure in (_measure, _measure_append):
            process = multiprocessing.get_context("spawn").Process(target=measure, args=(private, public))
            process.start()
            process.join()
            codes.append(process.exitcode)
    raise SystemExit(any(codes))


if __name__ == "__main__":
    main()
