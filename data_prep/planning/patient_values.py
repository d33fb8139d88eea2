"""The values that each patient has in a column of the films or of a table, for splits that depend on them."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from data_prep.annotations.cell_values import CELL_VALUES, cell_word
from data_prep.annotations.csv_table import csv_table, read_csv_rows
from data_prep.annotations.film_lookup import FilmNames, ListedFilm
from data_prep.deidentify.allow_list import hexadecimal
from data_prep.deidentify.pseudonyms import canonical_number
from data_prep.deidentify.safe_header_values import manufacturer
from data_prep.deidentify.vocabulary import vocabulary
from data_prep.errors import ArchiveError, SettingsError

FILM_COLUMNS = (
    *("body_part", "view", "laterality", "sex", "manufacturer", "model", "site"),
    *("photometric", "presentation_intent", "bits_stored"),
)
"""Columns of the films whose values are classes."""
TABLE_NAMES = ("path", "film", "sop_instance_uid", "study", "patient")
"""Columns by which a table names films, studies or patients; the first that it has counts."""

_MAX_VALUES = 200
"""Values of a column of classes; more are names or numbers."""
_WORDS = re.compile(r"[^\W_]+")
_LABELS = frozenset(
    ("fracture", "fraktur", "foreign", "material", "object", "implant", "left", "right", "female", "male")
)
_MAX_DIGITS = 2
"""Digits of a number that a message may repeat of a table, such as a grade."""

Values = Mapping[str, frozenset[str]]
"""Keyed hash of a patient → values of the patient's films."""


def shown_value(value: str, patients: int) -> str:
    """Name a value in a message if all its words are known ones; another, which may be a name, is told by its patients.

    Args:
        value: of a column of films or of a table.
        patients: who have it.
    """
    words = _WORDS.findall(value)
    is_known = all(map(_is_term, words)) and len(words) > 0 and sum(map(str.isdecimal, words)) <= 1  # two are a date
    return value if hexadecimal(value, 32) or _is_term(value) or is_known else f"(a value of {patients} patients)"


def _is_term(text: str) -> bool:
    """Whether a text is a body part, a view, a maker, a word of a label, or a short number."""
    if text.isdecimal():
        return len(text) <= _MAX_DIGITS
    is_listed = any(vocabulary(name).match(text) for name in ("body_part", "view")) or manufacturer(text) == text
    return is_listed or cell_word(text) in CELL_VALUES or text.casefold() in _LABELS


class PatientValues:
    """Looks up columns of films and of a table.

    Args:
        films: [files] rows of the manifest that are planned or in earlier shards.
        linkage: [files] the same rows of the linkage table: path and identifiers.
        table: CSV of the user; None for none.

    Raises:
        SettingsError: the table cannot be read, or names neither films, studies nor patients.
    """

    def __init__(self, films: pa.Table, linkage: pa.Table, table: Path | None) -> None:
        self._films, self._linkage, self._table = films, linkage, table
        self._header = _header(table) if table else []
        self._named_by = next((name for name in TABLE_NAMES if name in self._header), "")
        if table and not self._named_by:
            raise SettingsError(
                f"splits.stratify.table {table} has none of the columns {', '.join(TABLE_NAMES)} in its first line: add"
                " one that says which film, study or patient a row is of"
            )

    def is_of_table(self, column: str) -> bool:
        """Whether a column is one of the table."""
        return column in self._header

    def of(self, column: str) -> Values:
        """Find the values of a column; a patient without any is left out.

        Args:
            column: of the table, else of the films.

        Raises:
            SettingsError: there is no such column, a row is wrong, or it holds no classes.
        """
        if column in self._header:
            values = self._from_table(column)
        elif column in FILM_COLUMNS and column in self._films.column_names:
            values = _collect(zip(*(self._films[name].to_pylist() for name in ("patient", column)), strict=True))
        else:
            where = f"{self._table} and the films have" if self._table else "the films have"
            raise SettingsError(
                f"splits: {where} no column {column!r} of classes; those of the films are {', '.join(FILM_COLUMNS)}"
            )
        different = len(frozenset[str]().union(*values.values()))
        if different > _MAX_VALUES:
            raise SettingsError(
                f"splits: the column {column!r} has {different} different values for {len(values)} patients: give one"
                f" of classes, at most {_MAX_VALUES}"
            )
        return values

    def _from_table(self, column: str) -> Values:
        if self._table is None:
            raise AssertionError("without a table there is no column of it")
        find = self._finder()
        pairs: list[tuple[str | None, str]] = []
        unknown = rows = 0
        try:
            for _, row in csv_table(self._table, (self._named_by, column)):
                patients = find(row[self._named_by])
                rows, unknown = rows + 1, unknown + (not patients)
                pairs += [(patient, row[column]) for patient in patients]
        except ArchiveError as error:
            raise SettingsError(f"splits.stratify.table: {error}") from None
        if rows == unknown:
            raise SettingsError(
                f"splits.stratify.table {self._table}: no row of {rows} names a film, study or patient of the scan by"
                f" its column {self._named_by!r}"
            )
        return _collect(pairs)

    def _finder(self) -> "_Finder":
        patients: list[str] = self._films["patient"].to_pylist()
        if self._named_by in ("path", "film"):
            paths: list[str] = self._linkage["path"].to_pylist()
            films = [ListedFilm(row, path.lstrip("/"), 0, 0, 1, "") for row, path in enumerate(paths)]
            uids = dict(zip(self._linkage["sop_instance_uid"].to_pylist(), films, strict=True))
            names = FilmNames(films, (), {uid: film for uid, film in uids.items() if uid})
            return _Finder(None, names, patients)
        column = {"patient": "patient_id", "study": "study_uid"}.get(self._named_by, self._named_by)
        fold = canonical_number if self._named_by == "patient" else str
        by_name: defaultdict[str, set[str]] = defaultdict(set)
        for name, patient in zip(self._linkage[column].to_pylist(), patients, strict=True):
            if name is not None:
                by_name[fold(name)].add(patient)
        return _Finder(by_name, None, patients)


def _header(table: Path) -> list[str]:
    """The first line of a table.

    Raises:
        SettingsError: it is missing, no text in UTF-8, or not a table.
    """
    try:
        return next(read_csv_rows(table), (1, []))[1]
    except ArchiveError as error:
        raise SettingsError(f"splits.stratify.table: {error}") from None


class _Finder:
    """Finds the patients that a cell names: by a number or identifier, or by the path of a film."""

    def __init__(self, by_name: Mapping[str, set[str]] | None, films: FilmNames | None, patients: list[str]) -> None:
        self._by_name, self._films, self._patients = by_name, films, patients

    def __call__(self, name: str) -> set[str]:
        if self._films is not None:
            found = {self._patients[film.row] for film in self._films.find(name) if film is not None}
            return found if len(found) == 1 else set()
        names = self._by_name or {}
        return names.get(name) or names.get(canonical_number(name), set()) if name else set()


def _collect(pairs: Iterable[tuple[str | None, object]]) -> Values:
    values: defaultdict[str, set[str]] = defaultdict(set)
    for patient, value in pairs:
        if patient is not None and value is not None and str(value):
            values[patient].add(str(value))
    return {patient: frozenset(own) for patient, own in values.items()}
