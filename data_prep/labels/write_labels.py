"""Write labels and boxes of experts to ``labels.parquet`` and ``boxes.parquet``, with keys in place of identifiers.

Files are CSV tables (:mod:`data_prep.labels.csv_reader`), COCO, VOC or YOLO
(:mod:`data_prep.labels.annotation_reader`). Of several files, the nth of labels and the nth of boxes are of the nth
reader, unless a column names the reader. Adjudicated entries override those of readers. Every entry is kept; conflicts
are resolved when labels are read (:mod:`data_prep.shard_format.label_policy`). Messages state file and line, never
their content.

PRIVATE/label_problems.csv      problem, file, line, part: errors, and rows of films that are not in the shards
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.label_entries import LabelEntry
from data_prep.annotations.reconcile import reconcile
from data_prep.annotations.row_problems import Place, RowProblem, problems_csv
from data_prep.archive.manifest import BOXES_TABLE, LABELS_TABLE, write_private_text
from data_prep.errors import ArchiveError, LabelError
from data_prep.labels.annotation_reader import annotation_format, read_annotations
from data_prep.labels.archive_films import ArchiveFilms
from data_prep.labels.conflicts import write_origins
from data_prep.labels.csv_reader import CsvReader, Task
from data_prep.labels.row_counts import RowCount, RowCounts
from data_prep.labels.screening import check_no_identifiers
from data_prep.labels.settings import LabelSettings
from data_prep.shard_format.label_files import write_tables
from data_prep.shard_format.label_schema import BOXES_SCHEMA, LABELS_SCHEMA
from data_prep.shard_format.label_tables import BOXES_FILE, LABELS_FILE, is_from_private_report, read_boxes, read_labels

PROBLEMS_FILE = "label_problems.csv"
_LISTED_CODES = (
    *("no_film", "not_in_shards", "class_empty", "column_empty", "column_ignored", "box_of_crowd"),
    *("finding_against_none", "column_left_out", "one_hot_none", "one_hot_several"),
)
"""Codes of problems that are no errors: films that are not in the shards, classes and columns without entries, columns
that are no labels, rows that give a fact no class or several."""


class LabelFiles(NamedTuple):
    """Files of experts.

    Attributes:
        labels: tables of labels.
        boxes: tables or annotation files of boxes.
        adjudicated: tables or annotation files of either kind, with adjudicated entries.
    """

    labels: Sequence[Path] = ()
    boxes: Sequence[Path] = ()
    adjudicated: Sequence[Path] = ()


@dataclass(frozen=True)
class LabelSummary:
    """Counts of the labels that were written.

    Attributes:
        labels, boxes: numbers of rows used and skipped.
        films: number of films labelled.
        values: label → value (or ``number``) → number of rows.
        readers: number of readers.
        problems: table of skipped rows and empty classes; None where there are none.
        left_out: columns that are no labels, with the reason.
    """

    labels: RowCount
    boxes: RowCount
    films: int
    values: dict[str, dict[str, int]]
    readers: int
    problems: Path | None
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Text for the terminal, several lines."""
        lines = [f"labels: {self.labels}", f"boxes: {self.boxes}", *(f"  {text}" for text in self.left_out)]
        if self.problems:
            lines.append(f"  file and line of rows that are not used: {self.problems}")
        readers = f" by {self.readers} readers" if self.readers else ""
        return "\n".join([*lines, f"{self.films} films labelled{readers}"])


def write_labels(
    private: Path, public: Path, files: LabelFiles | None = None, settings: LabelSettings | None = None
) -> LabelSummary:
    """Write the labels and boxes of films in the shards; earlier ones of the scan are replaced.

    Labels of films of other scans, and labels from reports, are kept.

    Args:
        private: folder of the scan that the shards were made from.
        public: complete folder of shards.
        files: files of experts; None reads the tables that the scan of a public data set has written.
        settings: how the files are read.

    Returns:
        Counts of what was written.

    Raises:
        LabelError: a file is missing, malformed or of another task, or a row is invalid, of an unknown film, or
            repeated, with file and line; or no row is about a film of the shards. Earlier labels are kept.
        ArchiveError, ShardFormatError, SecretError: the folders are incomplete, or do not belong together.
    """
    settings, is_given = settings or LabelSettings(), files is not None and any(files)
    films, counts = ArchiveFilms(private, public), RowCounts()
    listed = [*_LISTED_CODES]
    listed += ["row_without_file"] * (settings.unknown_films == "list")
    listed += ["unknown_word"] * (settings.unknown_words == "list")
    collector = LabelCollector(films.names, settings, strict=True, listed=listed, key_of=films.key_of)
    if files is None or not is_given:
        if not (private / LABELS_TABLE).exists():
            raise LabelError("no table of labels; give --labels or --boxes, or scan a public data set with layout=…")
        files = LabelFiles([private / LABELS_TABLE], [private / BOXES_TABLE])
    _read_files(files, films, collector, counts, settings, is_given=is_given)
    reconciled = reconcile(collector)
    problems = _list_problems(private, collector, [path for paths in files for path in paths])
    labels = sorted((row for row in reconciled.labels if row.key in films.sharded), key=_label_order)
    boxes = sorted(
        (row for row in reconciled.boxes if row.key in films.sharded), key=lambda row: (*row[:3], row.reader or 0)
    )
    if not labels and not boxes:
        row_count = counts.boxes if counts.boxes != RowCount() else counts.labels
        raise LabelError(
            f"no row is about a film of {public}, nothing is written: {row_count}. Give the shards of this scan"
        )
    check_no_identifiers(private, labels, boxes, settings.not_names)
    new = {
        LABELS_FILE: _to_table([(*row[:6], None, None, row.reader) for row in labels], LABELS_SCHEMA),
        BOXES_FILE: _to_table([(row.key, row.label, *row.box, "expert", row.reader) for row in boxes], BOXES_SCHEMA),
    }
    scan_keys = films.scan_keys()
    earlier = {LABELS_FILE: read_labels(public), BOXES_FILE: read_boxes(public)}
    write_tables(public, {name: _with_kept_rows(earlier[name], table, scan_keys) for name, table in new.items()})
    _write_private(private, lambda: write_origins(private, labels))
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
        left_out=tuple(
            f"{problem.place}: {problem.problem}" for problem in collector.problems if problem.code == "column_left_out"
        ),
    )


def _read_files(
    files: LabelFiles,
    films: ArchiveFilms,
    collector: LabelCollector,
    counts: RowCounts,
    settings: LabelSettings,
    *,
    is_given: bool,
) -> None:
    """Read all files; the nth of several is of the nth reader where no column names one.

    A table without rows is an error if the user gave its path (``is_given``); a scan may have found no boxes.
    """

    def read(path: Path, task: Task | None, part: LabelCollector) -> None:
        if annotation_format(path) != "csv":
            read_annotations(path, films, part, counts.boxes)
        elif not CsvReader(films, part, counts, settings).read(path, task) and is_given:
            part.add_problem("no_rows", Place(path, 1))

    tasks: list[tuple[Sequence[Path], Task]] = [(files.labels, "labels"), (files.boxes, "boxes")]
    for paths, task in tasks:
        for number, path in enumerate(paths, 1):
            if task == "labels" and annotation_format(path) != "csv":
                raise LabelError(f"{path} holds annotations of boxes, not a table of labels; give it with --boxes")
            read(path, task, collector.for_reader(f"file {number}" if len(paths) > 1 else ""))
    for path in files.adjudicated:
        read(path, None, collector.for_reader("", adjudicated=True))


def _list_problems(private: Path, collector: LabelCollector, given: Sequence[Path]) -> Path | None:
    """Write the table of problems and return its path; None where there are none.

    Raises:
        LabelError: a problem is an error.
    """
    for name in collector.unused_renames():
        collector.add_problem("rename_without_name", Place(Path("rename")), f"{name!r} occurs in no file")
    problems = sorted(collector.problems, key=lambda problem: (*problem.place.order, problem.problem))
    path = private / PROBLEMS_FILE
    if not problems:
        _write_private(private, lambda: path.unlink(missing_ok=True))
        return None
    _write_private(private, lambda: write_private_text(path, problems_csv(problems)))
    _raise_first_error(problems, path, given)
    return path


def _raise_first_error(problems: Sequence[RowProblem], table: Path, given: Sequence[Path]) -> None:
    """Raise the first error, if there is one.

    A file inside a ``given`` folder may be named after a patient: only the private ``table`` states its name.

    Raises:
        LabelError: with file and line, and the number of further errors.
    """
    errors = [(line, problem) for line, problem in enumerate(problems, 2) if problem.is_error]
    if not errors:
        return
    line, (text, place, *_) = errors[0]
    folders = [path for path in given if place.file not in given and {path, path.parent} & set(place.file.parents)]
    if folders:
        raise LabelError(f"{folders[0]}: {text} (which file: {table} line {line}; {len(errors)} in all)")
    more = f" ({len(errors) - 1} more: {table})" if len(errors) > 1 else ""
    raise LabelError(f"{place}: {text}{more}")


def _write_private(private: Path, write: Callable[[], object]) -> None:
    try:
        write()
    except OSError as error:
        raise ArchiveError(f"{private} cannot be written ({error.strerror})") from None


def _label_order(row: LabelEntry) -> tuple[str, str, str, int]:
    return row.key, row.label, row.source, row.reader or 0


def _to_table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema)


def _with_kept_rows(earlier_rows: pa.Table, table: pa.Table, scan_keys: pa.Array) -> pa.Table:
    """``table`` with the earlier rows of films of other scans, or from reports."""
    is_kept = pc.invert(pc.is_in(earlier_rows["key"], scan_keys))
    kept_rows = earlier_rows.filter(
        pc.or_(is_kept, is_from_private_report(earlier_rows)) if "start" in earlier_rows.column_names else is_kept
    )
    if not len(kept_rows):
        return table
    order = [(name, "ascending") for name in table.column_names]
    return pa.concat_tables([table, kept_rows]).sort_by(order)
