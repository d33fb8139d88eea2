"""Labels and boxes from experts → ``labels.parquet`` and ``boxes.parquet``; identifiers become keys on the way.

Files are CSV tables (:mod:`data_prep.labels.csv_reader`), COCO, VOC or YOLO
(:mod:`data_prep.labels.annotation_reader`). Of several files the first ones of labels and of boxes are those of the
first reader, and so on, unless a column names the reader. Adjudicated entries overrule those of readers. Every
entry is kept: which one counts is decided when labels are read (:mod:`data_prep.shard_format.label_policy`). Messages
name file and line, never their content.

PRIVATE/label_problems.csv      problem, file, line, part: errors, and rows of films that are not in the shards
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.annotations.label_collector import LabelCollector, LabelEntry
from data_prep.annotations.reconcile import reconcile
from data_prep.annotations.row_problems import Place, RowProblem, problems_csv
from data_prep.archive.manifest import BOXES_TABLE, LABELS_TABLE, write_private_text
from data_prep.errors import ArchiveError, LabelError
from data_prep.labels.annotation_reader import form_of, read_annotations
from data_prep.labels.archive_films import ArchiveFilms
from data_prep.labels.conflicts import write_origins
from data_prep.labels.csv_reader import CsvReader, Task
from data_prep.labels.label_files import write_tables
from data_prep.labels.row_counts import RowCount, RowCounts
from data_prep.labels.settings import LabelSettings
from data_prep.shard_format.label_schema import BOXES_SCHEMA, LABELS_SCHEMA
from data_prep.shard_format.label_tables import BOXES_FILE, LABELS_FILE, from_private_report, read_boxes, read_labels

PROBLEMS_FILE = "label_problems.csv"
_LISTED = ("no_film", "not_in_shards", "class_empty", "column_empty")
"""Problems that are no errors: rows of films that are not in the shards, and classes and columns without entries."""


class LabelFiles(NamedTuple):
    """Files of experts: tables of labels, tables or annotations of boxes, and either of them adjudicated."""

    labels: Sequence[Path] = ()
    boxes: Sequence[Path] = ()
    adjudicated: Sequence[Path] = ()


@dataclass(frozen=True)
class LabelSummary:
    """What was written."""

    labels: RowCount
    boxes: RowCount
    films: int
    values: dict[str, dict[str, int]]
    """Label → value (or ``number``) → rows."""
    readers: int
    problems: Path | None
    """Where rows of films that are not in the shards, and empty classes, are listed; None where there are none."""

    def __str__(self) -> str:
        """Lines for a person."""
        lines = [f"labels: {self.labels}", f"boxes: {self.boxes}"]
        if self.problems:
            lines.append(f"  file and line of what is not used: {self.problems}")
        readers = f" by {self.readers} readers" if self.readers else ""
        return "\n".join([*lines, f"{self.films} films labelled{readers}"])


def write_labels(
    private: Path, public: Path, files: LabelFiles | None = None, settings: LabelSettings | None = None
) -> LabelSummary:
    """Write the labels and boxes of those films of the files that are in the shards, in place of earlier ones.

    Those of films that ``private`` does not know, which came from another scan, and those read from reports stay.

    Args:
        private: folder of the scan that the shards were made from.
        public: complete folder of shards.
        files: of experts; by default the tables that the scan of a public data set has made.
        settings: how the files are read.

    Raises:
        LabelError: a file is missing, malformed or of another task, or a row is invalid, of an unknown film, or
            repeated; with file and line. Or no row is about a film of the shards. Earlier labels stay.
        ArchiveError, ShardFormatError, SecretError: the folders are incomplete, or do not belong together.
    """
    settings, typed = settings or LabelSettings(), files is not None and any(files)
    films, counts = ArchiveFilms(private, public), RowCounts()
    listed = (*_LISTED, "row_without_file") if settings.unknown_films == "list" else _LISTED
    collector = LabelCollector(films.names, settings, strict=True, listed=listed, key_of=films.key)
    if files is None or not typed:
        if not (private / LABELS_TABLE).exists():
            raise LabelError("no table of labels; give --labels or --boxes, or scan a public data set with layout=…")
        files = LabelFiles([private / LABELS_TABLE], [private / BOXES_TABLE])
    _read(files, films, collector, counts, settings, typed=typed)
    found = reconcile(collector)
    problems = _problems(private, collector, [path for paths in files for path in paths])
    labels = sorted((row for row in found.labels if row.key in films.sharded), key=_label_order)
    boxes = sorted(
        (row for row in found.boxes if row.key in films.sharded), key=lambda row: (*row[:3], row.reader or 0)
    )
    if not labels and not boxes:
        counted = counts.boxes if counts.boxes != RowCount() else counts.labels
        raise LabelError(
            f"no row is about a film of {public}, so nothing was written: {counted}. Give the shards of this scan"
        )
    new = {
        LABELS_FILE: _table([(*row[:6], None, None, row.reader) for row in labels], LABELS_SCHEMA),
        BOXES_FILE: _table([(row.key, row.label, *row.box, "expert", row.reader) for row in boxes], BOXES_SCHEMA),
    }
    own = films.own_keys()
    kept = {LABELS_FILE: read_labels(public), BOXES_FILE: read_boxes(public)}
    write_tables(public, {name: _with_others(kept[name], table, own) for name, table in new.items()})
    _private(private, lambda: write_origins(private, labels))
    values: dict[str, Counter[str]] = {}
    for row in labels:
        values.setdefault(row.label, Counter())[row.value or "number"] += 1
    return LabelSummary(
        labels=counts.labels,
        boxes=counts.boxes,
        films=len({row.key for row in labels} | {row.key for row in boxes}),
        values={label: dict(count) for label, count in values.items()},
        readers=len(collector.readers),
        problems=problems,
    )


def _read(
    files: LabelFiles,
    films: ArchiveFilms,
    collector: LabelCollector,
    counts: RowCounts,
    settings: LabelSettings,
    *,
    typed: bool,
) -> None:
    """Read all files; the nth one of several is that of the nth reader where no column names one.

    A table without rows is an error where a user has ``typed`` its path; a scan may have found no boxes.
    """

    def read(path: Path, task: Task | None, part: LabelCollector) -> None:
        if form_of(path) != "csv":
            read_annotations(path, films, part, counts.boxes)
        elif not CsvReader(films, part, counts, settings).read(path, task) and typed:
            part.problem("no_rows", Place(path, 1))

    tasks: list[tuple[Sequence[Path], Task]] = [(files.labels, "labels"), (files.boxes, "boxes")]
    for paths, task in tasks:
        for number, path in enumerate(paths, 1):
            if task == "labels" and form_of(path) != "csv":
                raise LabelError(f"{path} holds annotations of boxes, not a table of labels; give it as --boxes")
            read(path, task, collector.of_reader(f"file {number}" if len(paths) > 1 else ""))
    for path in files.adjudicated:
        read(path, None, collector.of_reader("", adjudicated=True))


def _problems(private: Path, collector: LabelCollector, typed: Sequence[Path]) -> Path | None:
    """List all problems; where that is listed.

    Raises:
        LabelError: some of them are errors.
    """
    for name in collector.unused_names():
        collector.problem("rename_without_name", Place(Path("rename")), f"{name!r} occurs in no file")
    problems = sorted(collector.problems, key=lambda one: (*one.place.order, one.problem))
    path = private / PROBLEMS_FILE
    if not problems:
        _private(private, lambda: path.unlink(missing_ok=True))
        return None
    _private(private, lambda: write_private_text(path, problems_csv(problems)))
    _refuse_errors(problems, path, typed)
    return path


def _refuse_errors(problems: Sequence[RowProblem], table: Path, typed: Sequence[Path]) -> None:
    """Raise for the first error, if there is one.

    The name of a file in a folder that the user has ``typed`` may name a patient: it stands in the private ``table``
    alone.

    Raises:
        LabelError: with file and line, and how many more there are.
    """
    errors = [(line, problem) for line, problem in enumerate(problems, 2) if problem.is_error]
    if not errors:
        return
    line, (text, place, *_) = errors[0]
    folders = [path for path in typed if place.file not in typed and {path, path.parent} & set(place.file.parents)]
    if folders:
        raise LabelError(f"{folders[0]}: {text} (which file: {table} line {line}; {len(errors)} in all)")
    more = f" ({len(errors) - 1} more: {table})" if len(errors) > 1 else ""
    raise LabelError(f"{place}: {text}{more}")


def _private(private: Path, write: Callable[[], object]) -> None:
    try:
        write()
    except OSError as error:
        raise ArchiveError(f"{private} cannot be written ({error.strerror})") from None


def _label_order(row: LabelEntry) -> tuple[str, str, str, int]:
    return row.key, row.label, row.source, row.reader or 0


def _table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema)


def _with_others(before: pa.Table, table: pa.Table, own_keys: pa.Array) -> pa.Table:
    """``table`` with the rows of ``before`` that are of films from another scan, or were read from reports."""
    kept = pc.invert(pc.is_in(before["key"], own_keys))
    others = before.filter(pc.or_(kept, from_private_report(before)) if "start" in before.column_names else kept)
    if not len(others):
        return table
    order = [(name, "ascending") for name in table.column_names]
    return pa.concat_tables([table, others]).sort_by(order)
