"""Scan archives: headers only, every file becomes one row of the private manifest.

The same command again reads what is new or has changed and forgets what is gone; the result is that of a fresh scan.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.annotations.settings import LayoutName
from data_prep.archive import header_cache
from data_prep.archive.file_listing import ArchiveFile, list_files, root_of
from data_prep.archive.header_pool import read_all
from data_prep.archive.manifest import (
    LINKAGE_SCHEMA,
    MANIFEST_SCHEMA,
    UNMAPPED_FILE,
    clear_leftovers,
    prepare_private,
    with_fingerprint,
    write_manifest,
    write_private_text,
)
from data_prep.deidentify.header_screening import common_models
from data_prep.deidentify.pseudonyms import Pseudonyms, read_secret
from data_prep.errors import ArchiveError
from data_prep.public_datasets.dataset_tables import (
    find_layout,
    layout_hint,
    read_tables,
    remove_tables,
    with_facts,
    write_tables,
)
from data_prep.runtime.folder_lock import locked
from data_prep.scan.patient_identity import patients, twins
from data_prep.scan.scan_summary import Changes, ScanSummary, summarise
from data_prep.scan.settings import ScanSettings

_UNMAPPED = {"body_part": "unmapped_body_part", "view": "unmapped_view"}


def scan(archives: Sequence[Path], private: Path, settings: ScanSettings) -> ScanSummary:
    """Read the headers of all files of ``archives`` into the folder ``private``.

    The same archives, settings and secret give the same rows and keys; a later scan into the folder replaces what is
    there.

    Raises:
        SecretError: no secret for pseudonyms, or too short a one.
        ArchiveError: an archive is missing, empty or cannot be read, the private folder lies inside an archive, holds
            something else, cannot be written or is in use, or images of two archives would get the same key.
    """
    pseudonyms = Pseudonyms(read_secret(settings.key_file))
    _check_apart(archives, private)
    layout = find_layout(archives, settings.layout)
    settings = settings.model_copy(update={"source": settings.source or layout or ""})
    files = list_files(archives)
    prepare_private(private)
    try:
        with locked(private):
            return _scan(files, private, pseudonyms, settings, layout, archives)
    except BlockingIOError:
        raise ArchiveError(f"another scan command is writing to {private}; wait until it has ended") from None
    except OSError as error:  # of writing; those of reading are rows, or told by read_all
        raise ArchiveError(
            f"{private} cannot be written ({error.strerror}); mend that, then run the same command again: it goes on"
            " where it was"
        ) from None


def _scan(
    files: Sequence[ArchiveFile],
    private: Path,
    pseudonyms: Pseudonyms,
    settings: ScanSettings,
    layout: LayoutName | None,
    archives: Sequence[Path],
) -> ScanSummary:
    clear_leftovers(private)
    headers, changes = _headers(files, private, pseudonyms, settings)
    _check_image_keys(headers)
    if layout is not None:
        tables = read_tables(layout, root_of(archives[0]), headers, settings.tables, settings.columns)
        headers = with_facts(headers, tables, pseudonyms, settings.source)
    who, joined = patients(headers, pseudonyms, settings.source)
    manifest = _screen_models(_manifest(headers, who | {"twin": twins(headers)}))
    unmapped = _unmapped(headers)
    write_private_text(private / UNMAPPED_FILE, _unmapped_csv(unmapped))
    linkage = _numbered(headers).select(LINKAGE_SCHEMA.names)
    write_manifest(private, with_fingerprint(manifest, pseudonyms.fingerprint, layout), linkage)
    remove_tables(private)
    report = (
        str(write_tables(private, headers, tables, layout)) if layout is not None else layout_hint(archives, headers)
    )
    missing = pc.sum(headers["missing"]).as_py() or 0
    return summarise(manifest, unmapped, joined=joined, missing=missing, changes=changes, tables=report)


def _headers(
    files: Sequence[ArchiveFile], private: Path, pseudonyms: Pseudonyms, settings: ScanSettings
) -> tuple[pa.Table, Changes | None]:
    """Rows of all files (HEADERS_SCHEMA), read or known from an earlier scan, and what has changed since."""
    same = header_cache.identity(pseudonyms, settings)
    before, known = header_cache.read_headers(private, same)
    read = 0

    def rows() -> Iterator[pa.Table]:
        nonlocal read
        for chunk in read_all(files, known, pseudonyms, settings):
            read += chunk.read
            yield chunk.rows

    headers = header_cache.write_headers(private, same, rows())
    if headers.num_rows != len(files):
        raise AssertionError("a file has no row, or two")
    return headers, _changes(before, headers["path"], read) if len(before) or read < len(files) else None


def _check_apart(archives: Sequence[Path], private: Path) -> None:
    inside = private.resolve()
    for archive in archives:
        if inside.is_relative_to(root_of(archive)):
            raise ArchiveError(f"the private folder {private} lies inside the archive {archive}; put it elsewhere")


def _numbered(headers: pa.Table) -> pa.Table:
    return headers.append_column("row", pa.array(np.arange(headers.num_rows)))


def _manifest(headers: pa.Table, computed: dict[str, pa.Array]) -> pa.Table:
    table = _numbered(headers)
    for name, column in computed.items():
        table = table.append_column(MANIFEST_SCHEMA.field(name), column)
    return table.select(MANIFEST_SCHEMA.names)


def _changes(before: pa.Array, now: pa.ChunkedArray, read: int) -> Changes:
    new = len(now) - (pc.sum(pc.is_in(now, before)).as_py() or 0)
    gone = len(before) - (pc.sum(pc.is_in(before, now.combine_chunks())).as_py() or 0)
    return Changes(new=new, again=max(read - new, 0), gone=gone, unchanged=len(now) - max(read, new))


def _check_image_keys(headers: pa.Table) -> None:
    keys = headers.filter(pc.is_in(headers["source"], pa.array(["png", "jpeg"])))["key"].drop_null()
    twice = len(keys) - pc.count_distinct(keys).as_py()
    if twice:
        raise ArchiveError(
            f"{twice} images have the same path below two of the archives, and the path is what tells them apart;"
            " give the folder that holds these archives as one archive"
        )


def _screen_models(manifest: pa.Table) -> pa.Table:
    """Model names that too few patients share become null."""
    counted = manifest.filter(pc.and_(pc.is_valid(manifest["model"]), manifest["patient_known"]))
    pairs = counted.select(["model", "patient"]).group_by(["model", "patient"]).aggregate([])
    common = common_models(zip(pairs["model"].to_pylist(), pairs["patient"].to_pylist(), strict=True))
    safe = pc.is_in(manifest["model"], pa.array(sorted(common), pa.string()))
    model = pc.if_else(safe, manifest["model"], pa.scalar(None, pa.string()))
    return manifest.set_column(manifest.schema.get_field_index("model"), MANIFEST_SCHEMA.field("model"), model)


def _unmapped(headers: pa.Table) -> Counter[tuple[str, str]]:
    """(field, word) → films."""
    counted: Counter[tuple[str, str]] = Counter()
    for name, column in _UNMAPPED.items():
        for told in pc.value_counts(headers[column].drop_null()).to_pylist():
            counted[name, told["values"]] = told["counts"]
    return counted


def _unmapped_csv(unmapped: Counter[tuple[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["field", "word", "films"])
    writer.writerows((name, word, films) for (name, word), films in sorted(unmapped.items()))
    return text.getvalue()
