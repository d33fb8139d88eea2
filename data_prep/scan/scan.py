"""Scans archives: reads headers only and writes one row per file into the private folder.

A repeated scan reads new and changed files and drops removed ones; its result equals that of a fresh scan.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.annotations.settings import LayoutName
from data_prep.archive import header_cache
from data_prep.archive.file_listing import ArchiveFile, list_files, resolve_archive
from data_prep.archive.header_pool import read_all_headers
from data_prep.archive.manifest import (
    DIFFERENCES_FILE,
    LINKAGE_SCHEMA,
    MANIFEST_SCHEMA,
    STATED_FILE,
    UNMAPPED_FILE,
    is_begun_with,
    prepare_private,
    remove_temporary_files,
    with_digest_key,
    with_fingerprint,
    write_manifest,
    write_private_text,
)
from data_prep.deidentify.pseudonyms import Pseudonyms, check_secret, read_secret
from data_prep.deidentify.safe_header_values import shared_model_names
from data_prep.errors import ArchiveError
from data_prep.public_datasets.dataset_tables import (
    add_patients_to_headers,
    facts_by_row,
    find_layout,
    layout_hint,
    read_tables,
    remove_tables,
    write_tables,
)
from data_prep.runtime.atomic_write import PRIVATE_MODE, atomic_file
from data_prep.runtime.csv_text import csv_text
from data_prep.runtime.folder_lock import locked
from data_prep.runtime.secret_environment import without_secret
from data_prep.runtime.user_patterns import search
from data_prep.scan.corrections import read_corrections
from data_prep.scan.film_facts import collect_facts, with_patients_of_paths
from data_prep.scan.patient_identity import patients, twins
from data_prep.scan.scan_summary import Changes, ScanSummary, summarise
from data_prep.scan.settings import ScanSettings


def scan(archives: Sequence[Path], private: Path, settings: ScanSettings) -> ScanSummary:
    """Read the headers of all files of ``archives`` into the folder ``private``.

    The same archives, settings and secret give the same rows and keys. A later scan into the folder replaces the
    earlier one.

    Args:
        archives: folders and files.
        private: the private folder; created if it does not exist.
        settings: settings of the scan.

    Raises:
        SecretError: the secret for pseudonyms is missing or too short.
        ArchiveError: an archive is missing, empty or cannot be read, the private folder lies inside an archive, holds
            other files, cannot be written or is in use, or images of two archives would get the same key.
    """
    pseudonyms = Pseudonyms(secret := read_secret(settings.key_file))
    check_secret(secret, begun=is_begun_with(private, pseudonyms.fingerprint))
    _check_private_outside(archives, private)
    layout = find_layout(archives, settings.layout)
    if settings.keys == 1:
        settings = settings.model_copy(update={"source": settings.source or layout or ""})
    listed = list_files(archives)
    files = _not_excluded(listed, settings.exclude_pattern)
    prepare_private(private)
    try:
        with locked(private), without_secret():
            summary = _scan(files, private, pseudonyms, settings, layout, archives)
            return replace(summary, excluded=len(listed) - len(files))
    except BlockingIOError:
        raise ArchiveError(f"another scan command is writing to {private}. Wait until it has ended.") from None
    except OSError as error:  # from writing; errors from reading become rows, or read_all reports them
        raise ArchiveError(
            f"{private} cannot be written ({error.strerror}). Free disk space or set permissions, then run the same"
            " command again: it continues where it stopped."
        ) from None


def _scan(
    files: Sequence[ArchiveFile],
    private: Path,
    pseudonyms: Pseudonyms,
    settings: ScanSettings,
    layout: LayoutName | None,
    archives: Sequence[Path],
) -> ScanSummary:
    remove_temporary_files(private)
    headers, changes = _headers(files, private, pseudonyms, settings)
    _check_image_keys(headers)
    corrections = read_corrections(settings.facts.corrections, headers)
    pattern, named = settings.image_pattern, with_patients_of_paths(headers, settings.image_pattern)
    texts: dict[int, dict[str, str]] = {}
    if layout is not None:
        tables = read_tables(layout, resolve_archive(archives[0]), named, settings.tables, settings.columns)
        headers = add_patients_to_headers(headers, tables, pseudonyms, settings.source)
        texts = facts_by_row(tables)
    headers = with_patients_of_paths(headers, pattern)
    facts = collect_facts(headers, texts, corrections, settings)
    patient_columns, aliases, joined = patients(headers, pseudonyms, settings.source, settings.keys)
    manifest = _screen_models(_manifest(headers, facts.used | patient_columns | {"twin": twins(headers)}))
    write_private_text(private / UNMAPPED_FILE, _unmapped_csv(facts.unmapped))
    write_private_text(private / DIFFERENCES_FILE, facts.differences_csv(headers["path"]))
    with atomic_file(private / STATED_FILE, PRIVATE_MODE) as file:
        pq.write_table(facts.stated, file)
    linkage = _with_row_numbers(headers).append_column("patient_aliases", aliases).select(LINKAGE_SCHEMA.names)
    source = pseudonyms.source(settings.source)
    write_manifest(
        private,
        with_fingerprint(manifest, pseudonyms.fingerprint, layout, settings.keys, source),
        with_digest_key(linkage, pseudonyms.digest_key),
    )
    remove_tables(private)
    report = (
        str(write_tables(private, headers, tables, layout)) if layout is not None else layout_hint(archives, headers)
    )
    missing = pc.sum(headers["missing"]).as_py() or 0
    return summarise(manifest, facts, joined=joined, missing=missing, changes=changes, tables=report)


def _not_excluded(files: list[ArchiveFile], pattern: str | None) -> list[ArchiveFile]:
    if pattern is None:
        return files
    kept = [file for file in files if search(pattern, file.below, setting="exclude_pattern") is None]
    if not kept:
        raise ArchiveError(f"exclude_pattern={pattern} leaves out all {len(files)} files. Give a narrower one.")
    return kept


def _headers(
    files: Sequence[ArchiveFile], private: Path, pseudonyms: Pseudonyms, settings: ScanSettings
) -> tuple[pa.Table, Changes | None]:
    """Rows of all files (HEADERS_SCHEMA), read or from an earlier scan, and the changes since that scan."""
    identity = header_cache.cache_identity(pseudonyms, settings)
    earlier_paths, known = header_cache.read_headers(private, identity)
    read = 0

    def rows() -> Iterator[pa.Table]:
        nonlocal read
        for chunk in read_all_headers(files, known, pseudonyms, settings):
            read += chunk.read
            yield chunk.rows

    headers = header_cache.write_headers(private, identity, rows())
    if headers.num_rows != len(files):
        raise AssertionError("a file has no row, or two")
    is_rescan = len(earlier_paths) or read < len(files)
    return headers, _changes(earlier_paths, headers["path"], read) if is_rescan else None


def _check_private_outside(archives: Sequence[Path], private: Path) -> None:
    private_path = private.resolve()
    for archive in archives:
        if private_path.is_relative_to(resolve_archive(archive)):
            raise ArchiveError(
                f"the private folder {private} lies inside the archive {archive}. Give a folder outside as --out."
            )


def _with_row_numbers(headers: pa.Table) -> pa.Table:
    return headers.append_column("row", pa.array(np.arange(headers.num_rows)))


def _manifest(headers: pa.Table, computed: dict[str, pa.Array]) -> pa.Table:
    table = _with_row_numbers(headers).drop_columns([name for name in headers.column_names if name in computed])
    for name, column in computed.items():
        table = table.append_column(MANIFEST_SCHEMA.field(name), column)
    return table.select(MANIFEST_SCHEMA.names)


def _changes(earlier_paths: pa.Array, paths: pa.ChunkedArray, read: int) -> Changes:
    new = len(paths) - (pc.sum(pc.is_in(paths, earlier_paths)).as_py() or 0)
    removed = len(earlier_paths) - (pc.sum(pc.is_in(earlier_paths, paths.combine_chunks())).as_py() or 0)
    return Changes(new=new, read_again=max(read - new, 0), removed=removed, unchanged=len(paths) - max(read, new))


def _check_image_keys(headers: pa.Table) -> None:
    keys = headers.filter(pc.is_in(headers["source"], pa.array(["png", "jpeg"])))["key"].drop_null()
    duplicates = len(keys) - pc.count_distinct(keys).as_py()
    if duplicates:
        raise ArchiveError(
            f"{duplicates} images have the same path below two of the archives, and an image is identified by its path."
            " Give the folder that holds these archives as one archive."
        )


def _screen_models(manifest: pa.Table) -> pa.Table:
    """Set model names to null that fewer than three patients share."""
    films = manifest.filter(pc.and_(pc.is_valid(manifest["model"]), manifest["patient_known"]))
    pairs = films.select(["model", "patient"]).group_by(["model", "patient"]).aggregate([])
    common = shared_model_names(zip(pairs["model"].to_pylist(), pairs["patient"].to_pylist(), strict=True))
    safe = pc.is_in(manifest["model"], pa.array(sorted(common), pa.string()))
    model = pc.if_else(safe, manifest["model"], pa.scalar(None, pa.string()))
    return manifest.set_column(manifest.schema.get_field_index("model"), MANIFEST_SCHEMA.field("model"), model)


def _unmapped_csv(unmapped: Counter[tuple[str, str]]) -> str:
    rows = ((name, word, films) for (name, word), films in sorted(unmapped.items()))
    return csv_text([("field", "word", "films"), *rows])
