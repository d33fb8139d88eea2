"""Expert tables → ``labels.parquet`` and ``boxes.parquet`` of a public folder; identifiers become keys on the way.

A table is CSV with a header line. A film stands in the column ``sop_instance_uid``, or in ``path`` (absolute, or the
last parts of it); where its file holds several films, ``frame`` says which one, counted from 1. Labels: ``label`` and
``value`` (present, absent, uncertain, not_mentioned) or ``number``; if need be ``source`` (expert, report, metadata) or
``confidence`` (0 to 1). Boxes: ``label``, ``x_min``, ``y_min``, ``x_max``, ``y_max`` in pixels of the original film as
it is shown (upright, where a JPEG has an EXIF orientation), right and lower end exclusive; if need be ``reader``, who
drew it: the public table has a number in its place. Messages name the line, never what is in it.
"""

import csv
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.atomic import published
from data_prep.deidentify.keys import frame_key
from data_prep.errors import LabelError, SecretError, ShardFormatError
from data_prep.label_tables import (
    BOXES_FILE,
    LABELS_FILE,
    SOURCES,
    VALUES,
    from_private_report,
    read_boxes,
    read_labels,
)
from data_prep.manifest import BOXES_TABLE, LABELS_TABLE, key_fingerprint, read_linkage, read_manifest
from data_prep.shard_format import BOXES_SCHEMA, LABELS_SCHEMA, generation_folders, read_dataset_card
from data_prep.shard_writer import index_bytes

_NAME = re.compile(r"[a-z0-9_]{1,64}")
_EDGES = ("x_min", "y_min", "x_max", "y_max")
_FILM_COLUMNS = ("sop_instance_uid", "path")
_SHOWN_LINES = 10


@dataclass
class TableCount:
    """What became of the rows of one table: used + not_in_shards + unknown = rows."""

    used: int = 0
    not_in_shards: int = 0
    """The archive has the film, the shards do not: rejected, or another archive."""
    unknown: list[int] = field(default_factory=list)
    """Line numbers of rows whose film the scan has never seen."""

    def __str__(self) -> str:
        text = f"{self.used} rows used, {self.not_in_shards} of films that are not in the shards"
        if not self.unknown:
            return text
        lines = ", ".join(map(str, self.unknown[:_SHOWN_LINES]))
        more = ", …" if len(self.unknown) > _SHOWN_LINES else ""
        return f"{text}, {len(self.unknown)} of unknown films (line {lines}{more})"


@dataclass(frozen=True)
class LabelSummary:
    """What was written."""

    labels: TableCount
    boxes: TableCount
    films: int
    values: dict[str, dict[str, int]]
    """Label → value (or ``number``) → films."""

    def __str__(self) -> str:
        lines = [f"labels: {self.labels}", f"boxes: {self.boxes}", f"{self.films} films labelled"]
        for label, counts in sorted(self.values.items()):
            lines.append(f"  {label}: " + ", ".join(f"{count} {value}" for value, count in sorted(counts.items())))
        return "\n".join(lines)


def write_labels(private: Path, labels: Path | None, boxes: Path | None, public: Path) -> LabelSummary:
    """Write the labels and boxes of those films of the tables that are in the shards, in place of earlier ones.

    Those of films that ``private`` does not know, which came from another scan, stay, and those read from reports.

    Args:
        private: folder of the scan that the shards were made from.
        labels, boxes: expert tables; without ``boxes`` the table of boxes is written empty. Without both, the tables
            that the scan of a public data set has made.
        public: complete folder of shards.

    Raises:
        LabelError: a table is missing or malformed, or a row is wrong or stands twice; with file and line. Or no row
            is about a film of the shards: earlier labels stay.
        ArchiveError, ShardFormatError, SecretError: the folders are incomplete, or do not belong together.
    """
    if labels is None:
        if boxes is not None or not (private / LABELS_TABLE).exists():
            raise LabelError("no table of labels; give --labels, or scan a public data set with layout=…")
        labels, boxes = private / LABELS_TABLE, private / BOXES_TABLE
    films = _Films(private)
    sizes = _sizes(public, films.fingerprint)
    label_rows, label_count, label_lines = _read_labels(labels, films, sizes)
    box_rows, box_count = ([], TableCount()) if boxes is None else _read_boxes(boxes, films, sizes, label_lines)
    missed = [str(count) for count in (label_count, box_count) if count.not_in_shards or count.unknown]
    if missed and not (label_count.used or box_count.used):
        raise LabelError(f"no row of {labels} is about a film of {public}, so nothing was written: {missed[0]}")
    label_rows.sort(key=lambda row: row[:2])
    box_rows.sort(key=lambda row: (*row[:6], row[7] or 0))
    tables = {LABELS_FILE: _table(label_rows, LABELS_SCHEMA), BOXES_FILE: _table(box_rows, BOXES_SCHEMA)}
    before = {LABELS_FILE: read_labels(public), BOXES_FILE: read_boxes(public)}
    _replace(public, {name: _with_others(before[name], table, films) for name, table in tables.items()})
    values: dict[str, Counter[str]] = {}
    for _, label, value, *_ in label_rows:
        values.setdefault(label, Counter())[value or "number"] += 1
    keys = {row[0] for row in label_rows} | {row[0] for row in box_rows}
    return LabelSummary(label_count, box_count, len(keys), {label: dict(count) for label, count in values.items()})


class _Row(NamedTuple):
    """One line of a table: where it stands, the film's key, its other columns."""

    where: str
    line: int
    key: str
    cells: dict[str, str]


class _Films:
    """Looks up the key of a film by what an expert table calls it."""

    def __init__(self, private: Path) -> None:
        manifest = read_manifest(private)
        self.fingerprint = key_fingerprint(manifest)
        several = manifest.filter(pc.is_valid(manifest["frames"]))
        self.frames: dict[str, int] = dict(zip(*(several[name].to_pylist() for name in ("key", "frames")), strict=True))
        """Key of a file with several films → how many."""
        linkage = read_linkage(private, ["path", "sop_instance_uid", "key"])
        del manifest, several
        self._paths: list[str] = linkage["path"].to_pylist()
        self._keys: list[str | None] = linkage["key"].to_pylist()
        self._by_uid: dict[str, list[int]] = {}
        self._by_name: dict[str, list[int]] = {}
        for row, uid in enumerate(linkage["sop_instance_uid"].to_pylist()):
            if uid:
                self._by_uid.setdefault(uid, []).append(row)
            self._by_name.setdefault(self._paths[row].rpartition("/")[2], []).append(row)

    def own_keys(self) -> pa.Array:
        """Keys of all films of the scan."""
        frames = (frame_key(key, frame) for key, count in self.frames.items() for frame in range(1, count))
        return pa.array([*filter(None, self._keys), *frames], pa.string())

    def keys(self, column: str, name: str) -> set[str | None]:
        """Keys of the films called ``name``: none is unknown, None is a file that is no film, several are ambiguous."""
        if column == "sop_instance_uid":
            return {self._keys[row] for row in self._by_uid.get(name, ())}
        wanted = PurePosixPath(name.replace("\\", "/"))
        near = self._by_name.get(wanted.name, ())
        if exact := {self._keys[row] for row in near if self._paths[row] == name}:
            return exact
        parts = tuple(part for part in wanted.parts if part != ".")
        return {self._keys[row] for row in near if PurePosixPath(self._paths[row]).parts[-len(parts) :] == parts}


def _sizes(public: Path, fingerprint: str) -> dict[str, tuple[int, int]]:
    """Key of every film in the shards → rows and columns of its source."""
    card = read_dataset_card(public)
    if card.key_fingerprint != fingerprint:
        raise SecretError(f"{public} was made with another secret than the private folder; give the folder of its scan")
    names = ["key", "source_rows", "source_columns"]
    try:
        index = pa.concat_tables(
            pq.read_table(folder / "index.parquet", columns=names) for folder in generation_folders(public)
        )
    except (OSError, pa.ArrowInvalid):
        raise ShardFormatError(f"{public / 'index.parquet'} cannot be read; run the same shard command again") from None
    columns = (index.column(name).to_pylist() for name in names)
    return {key: (rows, columns) for key, rows, columns in zip(*columns, strict=True)}


def _read_labels(
    path: Path, films: _Films, sizes: Mapping[str, tuple[int, int]]
) -> tuple[list[tuple[Any, ...]], TableCount, dict[tuple[str, str], tuple[int, str | None]]]:
    """Rows in the order of LABELS_SCHEMA, their count, and (key, label) → (line, value)."""
    count, out, seen = TableCount(), [], dict[tuple[str, str], tuple[int, str | None]]()
    for row in _rows(path, ("label",), films, count):
        label = _label(row)
        value, number = _value(row)
        if (row.key, label) in seen:
            raise LabelError(
                f"{row.where} labels the film of line {seen[row.key, label][0]} again; keep one row per film and label"
            )
        seen[row.key, label] = row.line, value
        if not _in_shards(row.key, sizes, count):
            continue
        source, confidence = _certainty(row)
        out.append((row.key, label, value, number, source, confidence, None, None, None))  # no offsets: no report
    return out, count, seen


def _read_boxes(
    path: Path,
    films: _Films,
    sizes: Mapping[str, tuple[int, int]],
    labels: Mapping[tuple[str, str], tuple[int, str | None]],
) -> tuple[list[tuple[Any, ...]], TableCount]:
    """Rows in the order of BOXES_SCHEMA, and their count."""
    count, out, seen = TableCount(), [], dict[tuple[Any, ...], int]()
    readers: dict[str, int] = {}
    for row in _rows(path, ("label", *_EDGES), films, count):
        label = _label(row)
        edges = [_number(row, edge) for edge in _EDGES]
        if edges[0] >= edges[2] or edges[1] >= edges[3]:
            raise LabelError(f"{row.where}: the box is empty; x_min must be less than x_max and y_min less than y_max")
        name = row.cells.get("reader", "")
        reader = readers.setdefault(name, len(readers) + 1) if name else None
        if (first := seen.setdefault((row.key, label, *edges, reader), row.line)) != row.line:
            raise LabelError(f"{row.where} repeats the box of line {first}; remove one of them")
        line, value = labels.get((row.key, label), (0, None))
        if value == "absent":
            raise LabelError(f"{row.where} has a box where line {line} of the labels says absent; correct one of them")
        if row.key in sizes and (
            edges[0] < 0 or edges[1] < 0 or edges[2] > sizes[row.key][1] or edges[3] > sizes[row.key][0]
        ):
            raise LabelError(f"{row.where}: the box reaches out of the film; give pixels of the original film")
        if _in_shards(row.key, sizes, count):
            out.append((row.key, label, *edges, "expert", reader))
    return out, count


def _in_shards(key: str, sizes: Mapping[str, tuple[int, int]], count: TableCount) -> bool:
    if key in sizes:
        count.used += 1
        return True
    count.not_in_shards += 1
    return False


def _rows(path: Path, needed: Sequence[str], films: _Films, count: TableCount) -> Iterator[_Row]:
    """Rows of known films; the others are entered in ``count``."""
    for line, cells, film_column in _csv(path, needed):
        where = f"{path} line {line}"
        if not cells[film_column]:
            raise LabelError(f"{where}: the column {film_column} is empty; every row names its film")
        keys = films.keys(film_column, cells[film_column])
        if len(keys - {None}) > 1:
            raise LabelError(
                f"{where}: the {film_column} fits several films; give more of the path, or sop_instance_uid"
            )
        if not keys:
            count.unknown.append(line)
            continue
        key = next(iter(keys - {None}), None)
        if key is None:
            count.not_in_shards += 1
            continue
        yield _Row(where, line, frame_key(key, _frame(where, cells.get("frame", ""), films.frames.get(key, 1))), cells)


def _frame(where: str, told: str, frames: int) -> int:
    """Which frame of its file a row speaks of, counted from 0."""
    if not told and frames == 1:
        return 0
    if not (told.isascii() and told.isdigit() and len(told) < 6 and 1 <= int(told) <= frames):
        raise LabelError(f"{where}: the file holds {frames} films; give one of 1 to {frames} in the column frame")
    return int(told) - 1


def _csv(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str], str]]:
    """Line number, cells without surrounding blanks, and which column names the film."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=";" if ";" in head and "," not in head else ",", strict=True)
            header = [name.strip() for name in next(reader, [])]
            film_column = _check_header(path, header, needed)
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(header):
                    raise LabelError(
                        f"{path} line {reader.line_num}: {len(cells)} cells, but the header has {len(header)}"
                    )
                yield reader.line_num, {n: c.strip() for n, c in zip(header, cells, strict=True)}, film_column
    except FileNotFoundError:
        raise LabelError(f"table {path} does not exist; give the path of a CSV file") from None
    except OSError as error:
        raise LabelError(f"table {path} cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error):
        raise LabelError(f"table {path} is not valid CSV in UTF-8; export it again as CSV UTF-8") from None


def _check_header(path: Path, header: Sequence[str], needed: Sequence[str]) -> str:
    film_column = next((name for name in _FILM_COLUMNS if name in header), None)
    if film_column is None:
        raise LabelError(f"{path} line 1: no column names the film; add sop_instance_uid or path")
    missing = [name for name in needed if name not in header]
    if missing:
        raise LabelError(f"{path} line 1: the column {missing[0]} is missing; needed are {', '.join(needed)}")
    if tuple(needed) == ("label",) and not {"value", "number"} & set(header):
        raise LabelError(f"{path} line 1: the column value (or number) is missing")
    if len(set(header)) < len(header):
        raise LabelError(f"{path} line 1: a column stands twice in the header")
    return film_column


def _label(row: _Row) -> str:
    if not _NAME.fullmatch(row.cells["label"]):
        raise LabelError(f"{row.where}: a label is 1 to 64 of the characters a-z, 0-9 and _")
    return sys.intern(row.cells["label"])


def _value(row: _Row) -> tuple[str | None, float | None]:
    value, number = row.cells.get("value", ""), row.cells.get("number", "")
    if bool(value) == bool(number):
        raise LabelError(f"{row.where}: give either a value or a number")
    if number:
        return None, _number(row, "number")
    if value not in VALUES:
        raise LabelError(f"{row.where}: value must be one of {', '.join(VALUES)}")
    return sys.intern(value), None


def _certainty(row: _Row) -> tuple[str, float]:
    """Source and confidence; an expert who is sure, where the table does not say."""
    source = row.cells.get("source") or "expert"
    if source not in SOURCES:
        raise LabelError(f"{row.where}: source must be one of {', '.join(SOURCES)}")
    confidence = _number(row, "confidence") if row.cells.get("confidence") else 1.0
    if not 0 <= confidence <= 1:
        raise LabelError(f"{row.where}: confidence must be from 0 to 1")
    return sys.intern(source), confidence


def _number(row: _Row, column: str) -> float:
    try:
        number = float(row.cells[column])
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise LabelError(f"{row.where}: the column {column} must be a number")
    return number


def _table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema)


def _with_others(before: pa.Table, table: pa.Table, films: _Films) -> pa.Table:
    """``table`` with the rows of ``before`` that are of films from another scan, or were read from reports."""
    kept = pc.invert(pc.is_in(before["key"], films.own_keys()))
    others = before.filter(pc.or_(kept, from_private_report(before)) if "start" in before.column_names else kept)
    if not len(others):
        return table
    order = [(name, "ascending") for name in table.column_names]
    return pa.concat_tables([table, others]).sort_by(order)


def _replace(public: Path, tables: Mapping[str, pa.Table]) -> None:
    """Put both tables in place, each in one step."""
    try:
        for name, table in tables.items():
            with published(public / name) as file:
                file.write(index_bytes(table))
    except OSError as error:
        raise ShardFormatError(f"labels cannot be written into {public} ({error.strerror})") from None
