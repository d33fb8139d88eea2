"""What readers or sources say differently of a film: a table for those who may see where it was said.

PRIVATE/label_origins.parquet   where each label comes from: film as its file calls it, file, line, name of the reader
PRIVATE/label_conflicts.csv     one line per word of a conflict, with what the policy makes of it
"""

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.archive.manifest import read_linkage, read_manifest, write_private_text
from data_prep.errors import ArchiveError
from data_prep.labels.label_rows import LabelRow
from data_prep.runtime.atomic_write import PRIVATE_MODE, atomic_file
from data_prep.shard_format.frame_key import frame_key
from data_prep.shard_format.label_policy import LabelPolicy, resolve
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
_DEFINITE = ("present", "absent", "uncertain")
_COLUMNS = (
    "conflict", "kind", "film", "row", "label", "source", "reader", "value", "confidence", "settled", "file", "line",
    "part",
)  # fmt: skip


def write_origins(private: Path, labels: list[LabelRow]) -> None:
    """Write where the labels come from."""
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
    """Write the conflicts among ``labels`` on films of the scan; gives how many there are.

    Raises:
        ArchiveError: the private folder is damaged, or cannot be written.
    """
    words = _disputed(labels)
    places = _places(private, set(words["key"].to_pylist()))
    words = words.filter(pc.is_in(words["key"], pa.array(sorted(places), pa.string())))
    keys, names = (sorted(pc.unique(words[column]).to_pylist()) for column in ("key", "label"))
    resolved = resolve(words, policy, keys=keys, names=names)
    films = {key: place for place, key in enumerate(keys)}
    origins = _origins(private, keys)
    conflicts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for word in words.to_pylist():
        conflicts.setdefault((word["key"], word["label"]), []).append(word)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for number, ((key, label), said) in enumerate(conflicts.items(), 1):
        cell = films[key], names.index(label)
        settled = _settled(float(resolved.values[cell]), resolved.reason(*cell))
        row, path = places[key]
        for word in said:
            told = origins.get((key, label, word["source"], word["reader"]), {})
            name = told.get("reader_name") or word["reader"]
            who = "adjudicated" if word["reader"] == ADJUDICATED else name
            writer.writerow(
                (number, _kind(said), told.get("film", path), row, label, word["source"], who, word["value"],
                 word["confidence"], settled, told.get("file"), told.get("line"), told.get("part"))
            )  # fmt: skip
    try:
        write_private_text(private / CONFLICTS_FILE, text.getvalue())
    except OSError as error:
        raise ArchiveError(f"{private} cannot be written ({error.strerror})") from None
    return len(conflicts)


def _disputed(labels: pa.Table) -> pa.Table:
    """The words on films of which there are two different ones about a label, sorted."""
    words = labels.filter(pc.is_in(labels["value"], pa.array(_DEFINITE)))
    several = words.group_by(["key", "label"]).aggregate([("value", "count_distinct")])
    several = several.filter(pc.greater(several["value_count_distinct"], 1)).select(["key", "label"])
    found = words.join(several, keys=["key", "label"], join_type="inner")
    order = [(name, "ascending") for name in ("key", "label", "source", "reader", "value")]
    return found.select(labels.column_names).sort_by(order)


def _kind(said: list[dict[str, Any]]) -> str:
    """Between whom a conflict is, and whether it has been settled by a person."""
    sources = {source: {word["value"] for word in said if word["source"] == source} for source in SOURCES}
    spoken = [values for values in sources.values() if values]
    readers = [
        {word["value"] for word in said if word["source"] == source and word["reader"] != ADJUDICATED}
        for source in SOURCES
    ]
    kinds = ["readers"] if any(len(values) > 1 for values in readers) else []
    kinds += ["sources"] if any(values != spoken[0] for values in spoken) else []
    if any(word["reader"] == ADJUDICATED for word in said):
        kinds.append("adjudicated")
    return " ".join(kinds)


def _settled(value: float, reason: str) -> str:
    return reason or {0.0: "absent", 1.0: "present"}.get(value) or f"{value:.3f}"


def _places(private: Path, wanted: set[str]) -> dict[str, tuple[int, str]]:
    """Key → row of the manifest and path, of the films of the scan."""
    linkage = read_linkage(private, ["path", "key"])
    frames = read_manifest(private)["frames"].to_pylist()
    places: dict[str, tuple[int, str]] = {}
    for row, (path, key) in enumerate(zip(linkage["path"].to_pylist(), linkage["key"].to_pylist(), strict=True)):
        for one in [frame_key(key, frame) for frame in range(frames[row] or 1)] if key is not None else []:
            if one in wanted:
                places.setdefault(one, (row, path))
    return places


def _origins(private: Path, keys: list[str]) -> dict[tuple[str, str, str, int | None], dict[str, Any]]:
    """(key, label, source, reader) → where that was said; of labels from reports nothing."""
    path = private / ORIGINS_FILE
    if not path.exists():
        return {}
    try:
        table = pq.read_table(
            path, schema=ORIGINS_SCHEMA, filters=pc.is_in(pc.field("key"), pa.array(keys, pa.string()))
        )
    except (OSError, pa.ArrowException):
        raise ArchiveError(f"{path} cannot be read; label again from the tables of the experts") from None
    return {(row["key"], row["label"], row["source"], row["reader"]): row for row in table.to_pylist()}
