"""Tables of a public data set: facts go into the header table, labels and boxes into tables for ``label``.

PRIVATE/ also holds, where a layout was given:
  labels.csv     path, label, value, number, source, confidence   what ``label`` reads by default
  boxes.csv      path, label, x_min, y_min, x_max, y_max, reader  in pixels of the upright film
  splits.csv     patient, split                                   the set's own split, which ``shard`` takes by default
  problems.csv   problem, file, line, part                        rows not used, or only in part
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.annotations.film_lookup import FilmNames, ListedFilm
from data_prep.annotations.label_collector import BoxEntry, LabelCollector, LabelEntry
from data_prep.annotations.reconcile import reconcile, reconcile_splits
from data_prep.annotations.row_problems import Place, count_problems, problems_csv
from data_prep.annotations.settings import ColumnSettings, LayoutName, TableSettings
from data_prep.annotations.split_names import GivenSplit, strictest_split
from data_prep.archive.file_listing import root_of
from data_prep.archive.manifest import BOXES_TABLE, LABELS_TABLE, PROBLEMS_TABLE, SPLITS_TABLE, write_private_text
from data_prep.deidentify import header_screening
from data_prep.deidentify.pseudonyms import Pseudonyms
from data_prep.errors import ArchiveError
from data_prep.public_datasets.registry import layouts_of, read_layout, the_layout
from data_prep.shard_format.boxes import EDGES

_TABLES = (LABELS_TABLE, BOXES_TABLE, SPLITS_TABLE, PROBLEMS_TABLE)
_MOST_LABELS = 256
_FACTS = ("patient_id", "study", "body_part", "view", "laterality", "sex", "age_years")


@dataclass(frozen=True)
class LayoutReport:
    """Counts of the tables of a set.

    Attributes:
        name: of the layout.
        films: that the tables name.
        unnamed: films that they do not name.
        labels, boxes: how many.
        splits: split → patients.
        crossing: patients with films in several splits of the set.
        unsplit: films with a split but without a patient: they only train.
        problems: problem → how often.
    """

    name: LayoutName
    films: int
    unnamed: int
    labels: int
    boxes: int
    splits: dict[str, int]
    crossing: int
    unsplit: int
    problems: dict[str, int]

    def __str__(self) -> str:
        """Lines for a person."""
        lines = [
            f"layout {self.name}: {self.films} films named, {self.unnamed} films not, {self.labels} labels,"
            f" {self.boxes} boxes: see {LABELS_TABLE} and {BOXES_TABLE} in the private folder"
        ]
        if self.splits:
            counts = ", ".join(f"{patients} {split}" for split, patients in self.splits.items())
            lines.append(f"  the set's own split, by patient: {counts}; shard takes {SPLITS_TABLE} by default")
        if self.crossing:
            lines.append(f"  {self.crossing} patients have films in several splits: test goes before val before train")
        if self.unsplit:
            lines.append(
                f"  {self.unsplit} films have a split but no patient, and only train; image_pattern finds patients,"
                " tables.film_is_patient=true takes every film for one"
            )
        lines += [f"  {name:<28}{count:>10}" for name, count in self.problems.items()]
        if self.problems:
            lines.append(f"  file and line of each: {PROBLEMS_TABLE} in the private folder")
        return "\n".join(lines)


def find_layout(archives: Sequence[Path], layout: LayoutName | Literal["auto"] | None) -> LayoutName | None:
    """The layout of the archive; with ``auto`` the one whose files it has, None where none is requested.

    Raises:
        ArchiveError: there are several archives, or ``auto`` finds none or several.
    """
    if layout is None:
        return None
    if len(archives) != 1 or not root_of(archives[0]).is_dir():
        raise ArchiveError("layout=… reads one set: give its folder as the only archive")
    return the_layout(root_of(archives[0])) if layout == "auto" else layout


def layout_hint(archives: Sequence[Path], headers: pa.Table) -> str:
    """A line about archives that have the files of known sets and are scanned without their tables; empty for others.

    Only where there are pictures: in a large archive of DICOM alone, the search for tables would take long.
    """
    if not {"png", "jpeg"} & set(pc.unique(headers["source"]).to_pylist()):
        return ""
    found = {name for archive in archives if archive.is_dir() for name in layouts_of(root_of(archive))}
    return f"has the files of {' or '.join(sorted(found))}: layout=… reads its tables too" if found else ""


@dataclass(frozen=True)
class DatasetTables:
    """Contents of the tables and annotation files of a set.

    Attributes:
        collector: with facts, films named and problems.
        labels: one per film, label and source.
        boxes: each once.
        splits: path of a film below the archive → split.
    """

    collector: LabelCollector
    labels: list[LabelEntry]
    boxes: list[BoxEntry]
    splits: dict[str, GivenSplit]


def read_tables(
    name: LayoutName, root: Path, headers: pa.Table, tables: TableSettings, columns: ColumnSettings
) -> DatasetTables:
    """Read the tables and annotation files of a set.

    Args:
        name: of the layout.
        root: folder of the set.
        headers: header table of its files.
        tables: how names and boxes are read.
        columns: which columns are read, for the layout ``table``.

    Raises:
        ArchiveError: a table or column is missing or damaged, or there are so many labels that they must be something
            else, such as names of people.
        SettingsError: ``columns`` and the tables do not fit together.
    """
    names = ("below", "reason", "frames", "rows", "columns", "orientation", "source")
    films, others = [], []
    rows = zip(*(headers[n].to_pylist() for n in names), strict=True)
    for row, (below, reason, frames, *raster, source) in enumerate(rows):
        if reason is None and frames is None:  # no table of a set names one of several films
            films.append(ListedFilm(row, below, raster[0], raster[1], raster[2] or 1, source))
        else:
            others.append(below)
    collector = LabelCollector(FilmNames(films, others), tables)
    read_layout(name, root, collector, columns)
    found, splits = reconcile(collector), reconcile_splits(collector)
    for _ in collector.unused_names():
        collector.problem("rename_without_name", Place(root))
    labels = {entry.label for entry in found.labels}
    if len(labels) > _MOST_LABELS:
        raise ArchiveError(f"{len(labels)} different labels in {root}: a wrong column? Public labels name findings")
    if tables.film_is_patient:
        known = headers["patient_id"].to_pylist()
        for film in films:
            if known[film.row] is None and "patient" not in collector.facts.get(film.below, {}):
                collector.add_facts(film, patient=film.below)
    return DatasetTables(collector, found.labels, found.boxes, splits)


def with_facts(headers: pa.Table, tables: DatasetTables, pseudonyms: Pseudonyms, source: str) -> pa.Table:
    """The header table with the facts of a set; of DICOM files only where their own header has none.

    Texts pass the same vocabularies as those of headers; an age that is none is listed.

    Args:
        headers: header table of the set's files.
        tables: of the set.
        pseudonyms: that make keys of its studies.
        source: who gave out the patient numbers.
    """
    columns = {name: headers[name].to_pylist() for name in (*_FACTS, "unmapped_body_part", "unmapped_view")}
    kinds, rows = headers["source"].to_pylist(), _rows(tables)
    for below, facts in tables.collector.facts.items():
        row = rows[below]
        for name, value in _screened(facts, tables.collector, Place(Path(below))).items():
            if kinds[row] != "dicom" or columns[name][row] is None:
                columns[name][row] = value
        patient, study = columns["patient_id"][row] or "", facts.get("study", "")
        if study and kinds[row] != "dicom":
            columns["study"][row] = pseudonyms.named_study(source, patient, study)
    for name, values in columns.items():
        place = headers.schema.get_field_index(name)
        headers = headers.set_column(
            place, headers.schema.field(name), pa.array(values, headers.schema.field(name).type)
        )
    return headers


def write_tables(private: Path, headers: pa.Table, tables: DatasetTables, name: LayoutName) -> LayoutReport:
    """Write the four tables into the private folder.

    Args:
        private: folder of the scan.
        headers: header table with the facts of the set.
        tables: of the set.
        name: of the layout.
    """
    paths, patients, rows = headers["path"].to_pylist(), headers["patient_id"].to_pylist(), _rows(tables)
    labels = sorted(tables.labels, key=lambda entry: (rows[entry.key], entry.label, entry.source))
    boxes = sorted(tables.boxes, key=lambda entry: (rows[entry.key], entry.label))
    _write(
        private / LABELS_TABLE,
        ("path", "label", "value", "number", "source", "confidence"),
        (
            (paths[rows[key]], label, value or "", "" if number is None else repr(number), source, confidence)
            for key, label, value, number, source, confidence, *_ in labels
        ),
    )
    _write(
        private / BOXES_TABLE,
        ("path", "label", *EDGES, "reader"),
        ((paths[rows[key]], label, *box, origin.reader) for key, label, box, _, origin in boxes),
    )
    splits, crossing, unsplit = _patient_splits({rows[key]: split for key, split in tables.splits.items()}, patients)
    if splits:
        _write(private / SPLITS_TABLE, ("patient", "split"), sorted(splits.items()))
    else:
        (private / SPLITS_TABLE).unlink(missing_ok=True)
    problems = tables.collector.problems
    write_private_text(private / PROBLEMS_TABLE, problems_csv(sorted(problems)))
    named = tables.collector.films_named.keys() | {entry.key for entry in labels}
    return LayoutReport(
        name=name,
        films=len(named),
        unnamed=len(rows) - len(named),
        labels=len(labels),
        boxes=len(boxes),
        splits=dict(sorted(Counter(splits.values()).items())),
        crossing=crossing,
        unsplit=unsplit,
        problems=count_problems(problems),
    )


def remove_tables(private: Path) -> None:
    """Remove the tables of an earlier scan, which may be of another set."""
    for name in _TABLES:
        (private / name).unlink(missing_ok=True)


def _rows(tables: DatasetTables) -> dict[str, int]:
    """Path of a film below the archive → its row of the header table."""
    return {film.below: film.row for film in tables.collector.names.films}


def _patient_splits(
    films: Mapping[int, GivenSplit], patients: Sequence[str | None]
) -> tuple[dict[str, GivenSplit], int, int]:
    """(patient → split, patients with several, films with a split but no patient), from row → split."""
    found: dict[str, set[GivenSplit]] = {}
    unsplit = 0
    for row, split in films.items():
        patient = patients[row]
        if patient is None:
            unsplit += 1
        else:
            found.setdefault(patient, set()).add(split)
    splits = {patient: strictest_split(several) for patient, several in found.items()}
    return splits, sum(len(several) > 1 for several in found.values()), unsplit


def _screened(texts: dict[str, str], collector: LabelCollector, place: Place) -> dict[str, Any]:
    """Columns of the header table for the facts of a film."""
    facts: dict[str, Any] = {}
    if texts.get("patient"):
        facts["patient_id"] = texts["patient"]
    for name, screen in (("body_part", header_screening.body_part), ("view", header_screening.view)):
        if name in texts:
            facts[name] = screen(texts[name])
            facts[f"unmapped_{name}"] = texts[name] if facts[name] is None else None
    for name, screen_code in (("laterality", header_screening.laterality), ("sex", header_screening.sex)):
        if name in texts:
            facts[name] = screen_code(texts[name])
    if "age" in texts:
        facts["age_years"] = _age(texts["age"])
        if facts["age_years"] is None:
            collector.problem("age_unknown", place)
    return {name: value for name, value in facts.items() if value is not None or name.startswith("unmapped")}


def _age(text: str) -> int | None:
    """Years, as a number (``14.1``) or as DICOM has it (``058Y``, ``011M``)."""
    try:
        years = float(text)
    except ValueError:
        return header_screening.age_years(text.zfill(4), None, None)
    return header_screening.age_years(f"{int(years):03d}Y", None, None) if 0 <= years < 1000 else None


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_private_text(path, text.getvalue())
