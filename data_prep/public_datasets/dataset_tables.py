"""Read and write the tables of a public data set: facts for the header table, labels and boxes for ``label``.

Files in PRIVATE/ after a scan with a layout:
  labels.csv     path, label, value, number, source, confidence   read by ``label`` by default
  boxes.csv      path, label, x_min, y_min, x_max, y_max, reader  in pixels of the upright film
  splits.csv     patient, split                                   split of the data set, used by ``shard`` by default
  problems.csv   problem, file, line, part                        rows that are not used, or only in part
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.annotations.cell_values import CELL_VALUES
from data_prep.annotations.film_lookup import FilmNames, ListedFilm
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.label_entries import BoxEntry, LabelEntry
from data_prep.annotations.reconcile import reconcile, reconcile_splits
from data_prep.annotations.row_problems import Place, count_problems, problems_csv
from data_prep.annotations.settings import ColumnSettings, LayoutName, TableSettings
from data_prep.annotations.split_names import GivenSplit, strictest_split
from data_prep.archive.file_listing import resolve_archive
from data_prep.archive.manifest import BOXES_TABLE, LABELS_TABLE, PROBLEMS_TABLE, SPLITS_TABLE, write_private_text
from data_prep.deidentify import safe_header_values
from data_prep.deidentify.pseudonyms import Pseudonyms
from data_prep.errors import ArchiveError
from data_prep.public_datasets.registry import detect_layout, matching_layouts, read_layout
from data_prep.runtime.csv_text import csv_text
from data_prep.shard_format.boxes import EDGES

_TABLES = (LABELS_TABLE, BOXES_TABLE, SPLITS_TABLE, PROBLEMS_TABLE)
_MAX_LABELS = 256
_FACTS = ("body_part", "view", "laterality", "sex", "age")
_SCREENS: dict[str, Callable[[str], object]] = {
    "laterality": safe_header_values.laterality,
    "sex": safe_header_values.sex,
    "age": safe_header_values.age_in_years,
}


@dataclass(frozen=True)
class LayoutReport:
    """Counts of the tables of a data set.

    Attributes:
        name: of the layout.
        films: number of films that the tables name.
        unnamed_films: number of films that they do not name.
        labels: number of labels.
        boxes: number of boxes.
        splits: split → number of patients.
        patients_in_several_splits: number of patients with films in several splits of the data set.
        films_without_patient: number of films with a split but without a patient; they are used for training only.
        problems: code of a problem → number of rows.
    """

    name: LayoutName
    films: int
    unnamed_films: int
    labels: int
    boxes: int
    splits: dict[str, int]
    patients_in_several_splits: int
    films_without_patient: int
    problems: dict[str, int]

    def __str__(self) -> str:
        """Text for the terminal, several lines."""
        lines = [
            f"layout {self.name}: {self.films} films named, {self.unnamed_films} films not, {self.labels} labels,"
            f" {self.boxes} boxes: see {LABELS_TABLE} and {BOXES_TABLE} in the private folder"
        ]
        if self.splits:
            counts = ", ".join(f"{patients} {split}" for split, patients in self.splits.items())
            lines.append(f"  the set's own split, by patient: {counts}; shard takes {SPLITS_TABLE} by default")
        if self.patients_in_several_splits:
            count = self.patients_in_several_splits
            lines.append(f"  {count} patients have films in several splits: test goes before val before train")
        if self.films_without_patient:
            lines.append(
                f"  {self.films_without_patient} films have a split but no patient, and are used for training only;"
                " set image_pattern to find patients, or tables.film_is_patient=true to treat every film as one"
            )
        lines += [f"  {name:<28}{count:>10}" for name, count in self.problems.items()]
        if self.problems:
            lines.append(f"  file and line of each: {PROBLEMS_TABLE} in the private folder")
        return "\n".join(lines)


def find_layout(archives: Sequence[Path], layout: LayoutName | Literal["auto"] | None) -> LayoutName | None:
    """Determine the layout of an archive.

    Args:
        archives: of the scan.
        layout: name of the layout; ``auto`` detects it from the files; None reads no tables.

    Returns:
        Name of the layout; None if no tables are read.

    Raises:
        ArchiveError: there are several archives, or ``auto`` finds none or several.
    """
    if layout is None:
        return None
    if len(archives) != 1 or not resolve_archive(archives[0]).is_dir():
        raise ArchiveError("layout=… reads one set: give its folder as the only archive")
    return detect_layout(resolve_archive(archives[0])) if layout == "auto" else layout


def layout_hint(archives: Sequence[Path], headers: pa.Table) -> str:
    """Return a hint if an archive scanned without a layout has the files of a known data set; empty otherwise.

    Archives of DICOM files alone are not searched, since this takes long if they are large.

    Args:
        archives: of the scan.
        headers: header table of their files.

    Returns:
        One line, or an empty text.
    """
    if not {"png", "jpeg"} & set(pc.unique(headers["source"]).to_pylist()):
        return ""
    layouts = {name for archive in archives if archive.is_dir() for name in matching_layouts(resolve_archive(archive))}
    return f"has the files of {' or '.join(sorted(layouts))}: layout=… reads its tables too" if layouts else ""


@dataclass(frozen=True)
class DatasetTables:
    """Contents of the tables and annotation files of a data set.

    Attributes:
        collector: facts, films named and problems.
        labels: one per film, label and source.
        boxes: without repetitions.
        splits: path of a film relative to the archive → split.
    """

    collector: LabelCollector
    labels: list[LabelEntry]
    boxes: list[BoxEntry]
    splits: dict[str, GivenSplit]


def read_tables(
    name: LayoutName, root: Path, headers: pa.Table, tables: TableSettings, columns: ColumnSettings
) -> DatasetTables:
    """Read the tables and annotation files of a data set.

    Args:
        name: of the layout.
        root: folder of the data set.
        headers: header table of its files.
        tables: how names and boxes are read.
        columns: which columns are read with the layout ``table``.

    Returns:
        Facts, labels, boxes and splits of the films.

    Raises:
        ArchiveError: a table or column is missing or damaged, or there are more than 256 labels, which may be names of
            people.
        SettingsError: ``columns`` does not fit the tables.
    """
    names = ("below", "reason", "frames", "rows", "columns", "orientation", "source")
    films, other_paths = [], []
    rows = zip(*(headers[n].to_pylist() for n in names), strict=True)
    for row, (below, reason, frames, *raster, source) in enumerate(rows):
        if reason is None and frames is None:  # no table of a data set refers to single frames
            films.append(ListedFilm(row, below, raster[0], raster[1], raster[2] or 1, source))
        else:
            other_paths.append(below)
    collector = LabelCollector(FilmNames(films, other_paths), tables)
    read_layout(name, root, collector, columns)
    entries, splits = reconcile(collector), reconcile_splits(collector)
    for _ in collector.unused_renames():
        collector.add_problem("rename_without_name", Place(root))
    labels = {entry.label for entry in entries.labels}
    if len(labels) > _MAX_LABELS:
        raise ArchiveError(f"{len(labels)} different labels in {root}: a wrong column? Public labels name findings")
    if tables.film_is_patient:
        patients = headers["patient_id"].to_pylist()
        for film in films:
            if patients[film.row] is None and "patient" not in collector.facts.get(film.below, {}):
                collector.add_facts(film, patient=film.below)
    return DatasetTables(collector, entries.labels, entries.boxes, splits)


def add_patients_to_headers(headers: pa.Table, tables: DatasetTables, pseudonyms: Pseudonyms, source: str) -> pa.Table:
    """Add the patients and studies of a data set to the header table; for DICOM only patients that no header names.

    Args:
        headers: header table of the files.
        tables: of the data set.
        pseudonyms: create the keys of studies.
        source: issuer of the patient numbers.

    Returns:
        The header table with patients and studies.
    """
    columns = {name: headers[name].to_pylist() for name in ("patient_id", "study")}
    sources, rows = headers["source"].to_pylist(), _row_of_film(tables)
    for below, facts in tables.collector.facts.items():
        row = rows[below]
        if facts.get("patient") and (sources[row] != "dicom" or columns["patient_id"][row] is None):
            columns["patient_id"][row] = facts["patient"]
        patient, study = columns["patient_id"][row] or "", facts.get("study", "")
        if study and sources[row] != "dicom":
            columns["study"][row] = pseudonyms.study_of_name(source, patient, study)
    for name, values in columns.items():
        place = headers.schema.get_field_index(name)
        headers = headers.set_column(place, headers.schema.field(name), pa.array(values, pa.string()))
    return headers


def facts_by_row(tables: DatasetTables) -> dict[int, dict[str, str]]:
    """Row of the header table → fact → text, as the data set states them; what is no value is listed as a problem."""
    rows = _row_of_film(tables)
    return {
        rows[below]: _without_unknown(texts, tables.collector, Place(Path(below)))
        for below, texts in tables.collector.facts.items()
    }


def write_tables(private: Path, headers: pa.Table, tables: DatasetTables, name: LayoutName) -> LayoutReport:
    """Write the four tables into the private folder.

    Args:
        private: folder of the scan.
        headers: header table with the facts of the data set.
        tables: of the data set.
        name: of the layout.

    Returns:
        Counts of what was written.
    """
    paths, patients, rows = headers["path"].to_pylist(), headers["patient_id"].to_pylist(), _row_of_film(tables)
    labels = sorted(tables.labels, key=lambda entry: (rows[entry.key], entry.label, entry.source))
    boxes = sorted(tables.boxes, key=lambda entry: (rows[entry.key], entry.label))
    _write_csv(
        private / LABELS_TABLE,
        ("path", "label", "value", "number", "source", "confidence"),
        (
            (paths[rows[key]], label, value or "", "" if number is None else repr(number), source, confidence)
            for key, label, value, number, source, confidence, *_ in labels
        ),
    )
    _write_csv(
        private / BOXES_TABLE,
        ("path", "label", *EDGES, "reader"),
        ((paths[rows[key]], label, *box, origin.reader) for key, label, box, _, origin in boxes),
    )
    splits, patients_in_several_splits, films_without_patient = _patient_splits(
        {rows[key]: split for key, split in tables.splits.items()}, patients
    )
    if splits:
        _write_csv(private / SPLITS_TABLE, ("patient", "split"), sorted(splits.items()))
    else:
        (private / SPLITS_TABLE).unlink(missing_ok=True)
    problems = tables.collector.problems
    write_private_text(private / PROBLEMS_TABLE, problems_csv(sorted(problems)))
    named = tables.collector.films_named.keys() | {entry.key for entry in labels}
    return LayoutReport(
        name=name,
        films=len(named),
        unnamed_films=len(rows) - len(named),
        labels=len(labels),
        boxes=len(boxes),
        splits=dict(sorted(Counter(splits.values()).items())),
        patients_in_several_splits=patients_in_several_splits,
        films_without_patient=films_without_patient,
        problems=count_problems(problems),
    )


def remove_tables(private: Path) -> None:
    """Remove the tables of an earlier scan, which may be of another data set."""
    for name in _TABLES:
        (private / name).unlink(missing_ok=True)


def _row_of_film(tables: DatasetTables) -> dict[str, int]:
    """Path of a film relative to the archive → its row of the header table."""
    return {film.below: film.row for film in tables.collector.names.films}


def _patient_splits(
    films: Mapping[int, GivenSplit], patients: Sequence[str | None]
) -> tuple[dict[str, GivenSplit], int, int]:
    """(patient → split, number of patients with several splits, number of films without patient), from row → split."""
    entries: dict[str, set[GivenSplit]] = {}
    films_without_patient = 0
    for row, split in films.items():
        patient = patients[row]
        if patient is None:
            films_without_patient += 1
        else:
            entries.setdefault(patient, set()).add(split)
    splits = {patient: strictest_split(patient_splits) for patient, patient_splits in entries.items()}
    return splits, sum(len(patient_splits) > 1 for patient_splits in entries.values()), films_without_patient


def _without_unknown(texts: dict[str, str], collector: LabelCollector, place: Place) -> dict[str, str]:
    """Texts of the facts of a film; side, sex and age only if they are values."""
    facts = {name: texts[name] for name in _FACTS if name in texts}
    for name, screen in _SCREENS.items():
        if name not in facts or screen(facts[name]) is not None:
            continue
        if name == "age" or CELL_VALUES.get(facts[name].lower(), "") is not None:
            collector.add_problem(f"{name}_unknown", place)
        del facts[name]
    return facts


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    write_private_text(path, csv_text([header, *rows]))
