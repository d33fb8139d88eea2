"""List labels on which readers or sources differ, in a private table with file and line of each entry.

PRIVATE/label_origins.parquet   origin of each label: name of the film in the file, file, line, name of the reader
PRIVATE/label_conflicts.csv     one line per entry of a conflict, with the value that the policy gives
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.annotations.label_entries import LabelEntry
from data_prep.archive.manifest import read_linkage, read_manifest, write_private_text
from data_prep.errors import ArchiveError
from data_prep.runtime.atomic_write import PRIVATE_MODE, atomic_file
from data_prep.runtime.csv_text import csv_text
from data_prep.shard_format.frame_key import frame_key
from data_prep.shard_format.label_policy import LabelPolicy, resolve_labels
from data_prep.shard_format.label_schema import ADJUDICATED
from data_prep.shard_format.label_tables import SOURCES

ORIGINS_FILE, CONFLICTS_FILE = "label_origins.parquet", "label_conflicts.csv"
ORIGINS_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.string()),
        ("source", pa.string()),
        ("reader", pa.int16()),
        ("reader_name", pa.string()),
        ("film", pa.string()),
        ("file", pa.string()),
        ("line", pa.int64()),
        ("part", pa.string()),
    ]
)
_STATED_VALUES = ("present", "absent", "uncertain")
_CONFLICT_COLUMNS = (
    "conflict", "kind", "film", "row", "label", "source", "reader", "value", "confidence", "settled", "file", "line",
    "part",
)  # fmt: skip


def write_origins(private: Path, labels: list[LabelEntry]) -> None:
    """Write the origin of each label.

    Args:
        private: folder of the scan.
        labels: entries of this scan.
    """
    rows = []
    for row in labels:
        film, (file, line, part), name = row.origin
        place = (str(file), line if line or part else None, part or None)
        rows.append((row.key, row.label, row.source, row.reader, name or None, film, *place))
    columns = zip(*rows, strict=True) if rows else [()] * len(ORIGINS_SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, ORIGINS_SCHEMA, strict=True)]
    with atomic_file(private / ORIGINS_FILE, PRIVATE_MODE) as table:
        pq.write_table(pa.table(arrays, ORIGINS_SCHEMA), table)


def write_conflicts(private: Path, labels: pa.Table, policy: LabelPolicy) -> int:
    """Write the conflicts on films of the scan.

    Args:
        private: folder of the scan.
        labels: rows of LABELS_SCHEMA.
        policy: how conflicts are resolved.

    Returns:
        Number of conflicts.

    Raises:
        ArchiveError: the private folder is damaged, or cannot be written.
    """
    entries = _conflicting_entries(labels)
    locations = _locate_films(private, set(entries["key"].to_pylist()))
    entries = entries.filter(pc.is_in(entries["key"], pa.array(sorted(locations), pa.string())))
    keys, names = (sorted(pc.unique(entries[column]).to_pylist()) for column in ("key", "label"))
    resolved = resolve_labels(entries, policy, keys=keys, names=names)
    films = {key: place for place, key in enumerate(keys)}
    origins = _read_origins(private, keys)
    conflicts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in entries.to_pylist():
        conflicts.setdefault((entry["key"], entry["label"]), []).append(entry)
    rows: list[Sequence[object]] = [_CONFLICT_COLUMNS]
    for number, ((key, label), conflict) in enumerate(conflicts.items(), 1):
        cell = films[key], names.index(label)
        value = _value_text(float(resolved.values[cell]), resolved.reason(*cell))
        row, path = locations[key]
        for entry in conflict:
            origin = origins.get((key, label, entry["source"], entry["reader"]), {})
            name = origin.get("reader_name") or entry["reader"]
            reader = "adjudicated" if entry["reader"] == ADJUDICATED else name
            rows.append(
                (number, _conflict_kind(conflict), origin.get("film", path), row, label, entry["source"], reader,
                 entry["value"], entry["confidence"], value, origin.get("file"), origin.get("line"), origin.get("part"))
            )  # fmt: skip
    try:
        write_private_text(private / CONFLICTS_FILE, csv_text(rows))
    except OSError as error:
        raise ArchiveError(f"{private} cannot be written ({error.strerror})") from None
    return len(conflicts)


def _conflicting_entries(labels: pa.Table) -> pa.Table:
    """The entries of all films and labels with more than one value, sorted."""
    entries = labels.filter(pc.is_in(labels["value"], pa.array(_STATED_VALUES)))
    conflicting = entries.group_by(["key", "label"]).aggregate([("value", "count_distinct")])
    conflicting = conflicting.filter(pc.greater(conflicting["value_count_distinct"], 1)).select(["key", "label"])
    joined = entries.join(conflicting, keys=["key", "label"], join_type="inner")
    order = [(name, "ascending") for name in ("key", "label", "source", "reader", "value")]
    return joined.select(labels.column_names).sort_by(order)


def _conflict_kind(conflict: list[dict[str, Any]]) -> str:
    """Words for what differs (readers, sources), and whether the conflict is adjudicated."""
    sources = {source: {entry["value"] for entry in conflict if entry["source"] == source} for source in SOURCES}
    values_by_source = [values for values in sources.values() if values]
    readers = [
        {entry["value"] for entry in conflict if entry["source"] == source and entry["reader"] != ADJUDICATED}
        for source in SOURCES
    ]
    kinds = ["readers"] if any(len(values) > 1 for values in readers) else []
    kinds += ["sources"] if any(values != values_by_source[0] for values in values_by_source) else []
    if any(entry["reader"] == ADJUDICATED for entry in conflict):
        kinds.append("adjudicated")
    return " ".join(kinds)


def _value_text(value: float, reason: str) -> str:
    return reason or {0.0: "absent", 1.0: "present"}.get(value) or f"{value:.3f}"


def _locate_films(private: Path, wanted: set[str]) -> dict[str, tuple[int, str]]:
    """Key → (row of the manifest, path), for the films of ``wanted`` that are of the scan."""
    linkage = read_linkage(private, ["path", "key"])
    frames = read_manifest(private)["frames"].to_pylist()
    locations: dict[str, tuple[int, str]] = {}
    for row, (path, key) in enumerate(zip(linkage["path"].to_pylist(), linkage["key"].to_pylist(), strict=True)):
        for frame in range(frames[row] or 1) if key is not None else ():
            if (film := frame_key(key, frame)) in wanted:
                locations.setdefault(film, (row, path))
    return locations


def _read_origins(private: Path, keys: list[str]) -> dict[tuple[str, str, str, int | None], dict[str, Any]]:
    """(key, label, source, reader) → origin; labels from reports have no origin."""
    path = private / ORIGINS_FILE
    if not path.exists():
        return {}
    try:
        table = pq.read_table(
            path, schema=ORIGINS_SCHEMA, filters=pc.is_in(pc.field("key"), pa.array(keys, pa.string()))
        )
    except (OSError, pa.ArrowException):
        raise ArchiveError(f"{path} cannot be read; run label with the tables of the experts again") from None
    return {(row["key"], row["label"], row["source"], row["reader"]): row for row in table.to_pylist()}
