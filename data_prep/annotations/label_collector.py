"""Collect labels, boxes and splits from tables and annotation files, with their problems.

Every entry is kept with its film, file, line and reader. A row that is not used is listed as a problem: by its code for
public data sets (lenient), as an error with a message for files of experts (strict). Contradicting entries of one
reader are reconciled later (:mod:`data_prep.annotations.reconcile`).
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path

from data_prep.annotations.csv_table import csv_table, read_csv_rows
from data_prep.annotations.film_lookup import FilmNames, ListedFilm
from data_prep.annotations.label_entries import (
    BoxEntry,
    LabelEntry,
    Origin,
    Source,
    SplitEntry,
    Value,
    label_name,
)
from data_prep.annotations.problem_texts import PROBLEM_TEXTS
from data_prep.annotations.row_problems import Place, RowProblem
from data_prep.annotations.settings import DrawingSettings
from data_prep.annotations.split_names import parse_split, split_of_path
from data_prep.annotations.upright_boxes import Frame, box_on_film
from data_prep.shard_format.boxes import Box
from data_prep.shard_format.label_schema import ADJUDICATED


class LabelCollector:
    """Collects entries and problems.

    Args:
        names: lookup of the films by name.
        settings: how names and boxes are read.
        strict: whether problems are errors, with messages in place of codes.
        listed: codes of problems that are no errors even if ``strict``.
        key_of: key of a film; by default its path relative to the archive.

    Attributes:
        labels: entries that tables state.
        implied: entries that annotation files imply; used where no table states the label.
        boxes, splits: further entries.
        boxless: findings whose boxes cannot be used.
        unclear: (key, label) of what was not understood, label None for any: never absent by implication.
        facts: key of a film → fact → text.
        problems: rows that are not used, or only in part.
        films_named: key → film, for all films that a table or annotation file names.
        places: key → last place that names the film.
        renamed: names of ``rename`` that have occurred.
        reader: name of the reader of all rows that state no other; empty where there is none.
        readers: name of a reader → number, in the order of their first occurrence.
    """

    def __init__(
        self,
        names: FilmNames,
        settings: DrawingSettings,
        *,
        strict: bool = False,
        listed: Iterable[str] = (),
        key_of: Callable[[ListedFilm], str] = attrgetter("below"),
    ) -> None:
        self.names, self.settings, self.strict, self.key_of = names, settings, strict, key_of
        self._listed_codes = frozenset(listed)
        self.labels: list[LabelEntry] = []
        self.implied: list[LabelEntry] = []
        self.boxes: list[BoxEntry] = []
        self.boxless: list[LabelEntry] = []
        self.unclear: set[tuple[str, str | None]] = set()
        self.splits: list[SplitEntry] = []
        self.facts: dict[str, dict[str, str]] = {}
        self.problems: list[RowProblem] = []
        self.films_named: dict[str, ListedFilm] = {}
        self.places: dict[str, Place] = {}
        self.renamed: set[str] = set()
        self.readers: dict[str, int] = {}
        self._films_with_row: set[tuple[Path, str]] = set()
        self.reader, self._adjudicated = "", False

    def for_reader(self, name: str, *, adjudicated: bool = False) -> "LabelCollector":
        """Create a collector for the files of one reader, which adds its entries and problems to this one.

        Args:
            name: of the reader of all rows that state no other; empty where readers are not distinguished.
            adjudicated: whether the entries override those of readers.

        Returns:
            The collector.
        """
        part = copy.copy(self)
        part.films_named, part.places, part._films_with_row = {}, {}, set()
        part.reader, part._adjudicated = name, adjudicated
        return part

    def reader_number(self, name: str = "") -> int | None:
        """Return the number of a reader, from 1; None without a name, and for readers of public data sets."""
        name = name or self.reader
        if self._adjudicated:
            return ADJUDICATED
        return self.readers.setdefault(name, len(self.readers) + 1) if name and self.strict else None

    def list_non_film_files(self, root: Path, suffix: str) -> list[Path]:
        """List the files of the archive that are not films.

        Args:
            root: folder of the archive.
            suffix: suffix of the file names, such as ".xml".

        Returns:
            Paths, sorted, without hidden files.
        """
        paths = (path for path in sorted(self.names.other_paths) if path.endswith(suffix))
        return [root / path for path in paths if not any(part.startswith(".") for part in path.split("/"))]

    def find_film(self, name: str, place: Place, *, below: str = "") -> ListedFilm | None:
        """Find the film that a row names.

        Args:
            name: path, end of a path, or file name.
            place: of the row.
            below: folder that must contain the film; empty means any.

        Returns:
            The film; None if there is none or several, which is listed.
        """
        matches = self.names.find(name, below=below)
        if len(matches) == 1 and matches[0] is not None:
            key = self.key_of(matches[0])
            self.films_named[key], self.places[key] = matches[0], place
            return matches[0]
        self.add_problem(
            "row_without_file" if not matches else "name_fits_several" if len(matches) > 1 else "no_film", place
        )
        return None

    def find_film_once(self, name: str, place: Place, *, below: str = "") -> ListedFilm | None:
        """Find the film of a row in a table with one row per film.

        Args:
            name, place, below: as for :meth:`find_film`.

        Returns:
            The film; None if there is none or several, or the table has named it before, which is listed.
        """
        film = self.find_film(name, place, below=below)
        if film is None:
            return None
        row = place.file, self.key_of(film)
        if row in self._films_with_row:
            self.add_problem("film_repeated", place)
            return None
        self._films_with_row.add(row)
        return film

    def read_film_rows(
        self, table: Path, column: str, needed: Sequence[str] = (), *, below: str = "", once: bool = True
    ) -> Iterator[tuple[ListedFilm, dict[str, str], Place]]:
        """Read the rows of a CSV table that name a film; all other rows are listed.

        Args:
            table: with a header line.
            column: that names the film.
            needed: further columns that must be in the header.
            below: folder that must contain the films; empty means any.
            once: whether a second row of a film is listed; it is read too, so that contradictions are found.

        Yields:
            (film, column → cell, place).

        Raises:
            ArchiveError: the table cannot be read, or a column is missing.
        """
        films: set[str] = set()
        for line, cells in csv_table(table, (column, *needed)):
            film, place = self.find_film(cells[column], Place(table, line), below=below), Place(table, line)
            if film is None:
                continue
            if once and self.key_of(film) in films:
                self.add_problem("film_repeated", place)
            films.add(self.key_of(film))
            yield film, cells, place

    def add_facts(self, film: ListedFilm, **texts: str | None) -> None:
        """Add facts of a film (patient, study, body_part, view, laterality, sex, age); the first text of each stays."""
        facts = self.facts.setdefault(self.key_of(film), {})
        facts |= {name: text for name, text in texts.items() if text and name not in facts}

    def add_split(self, film: ListedFilm, name: str, place: Place) -> None:
        """Add the split of a film.

        Args:
            film: of the row.
            name: of the split in the data set; an unknown name is listed.
            place: of the row.
        """
        split = parse_split(name)
        if split is None:
            self.add_problem("split_unknown", place)
        else:
            self.splits.append(SplitEntry(self.key_of(film), split, place))

    def add_split_list(self, table: Path, split: str) -> None:
        """Add the split of all films in a list.

        Args:
            table: CSV list of films without a header line.
            split: of all its films.
        """
        for line, cells in read_csv_rows(table):
            film = self.find_film_once(cells[0], Place(table, line))
            if film is not None:
                self.add_split(film, split, Place(table, line))

    def add_folder_splits(self, root: Path, *, known: bool = False) -> None:
        """Add the splits that the folders of films name.

        Args:
            root: folder of the archive.
            known: whether films that have a split are skipped.
        """
        films_with_split = {entry.key for entry in self.splits} if known else set()
        for film in self.names.films:
            split = split_of_path(film.below)
            if split is not None and self.key_of(film) not in films_with_split:
                self.add_split(film, split, Place(root / film.below))

    def label_of(self, raw: str, place: Place) -> str | None:
        """Return the label of a class or column.

        Args:
            raw: name in the data set.
            place: of the name.

        Returns:
            As ``rename`` maps it, else in lower snake case; None if it maps to null or is no valid label (listed).
        """
        if raw in self.settings.rename:
            self.renamed.add(raw)
            return self.settings.rename[raw]
        label = label_name(raw)
        if label is None:
            self.add_problem("label_needs_rename", place)
        return label

    def add_label(
        self,
        film: ListedFilm,
        raw: str,
        value: Value | None,
        place: Place,
        *,
        number: float | None = None,
        source: Source = "expert",
        confidence: float = 1.0,
    ) -> None:
        """Add a label of a film.

        Args:
            film: that is labelled.
            raw: name of the label in the data set.
            value: present, absent or uncertain; None with a ``number``.
            place: of the row.
            number: value of a numeric label.
            source: of the entry.
            confidence: 0 to 1.
        """
        if (label := self.label_of(raw, place)) is not None:
            self.labels.append(
                LabelEntry(
                    self.key_of(film), label, value, number, source, confidence, self.reader_number(),
                    self._origin(film, place),
                )
            )  # fmt: skip

    def add_findings(
        self,
        film: ListedFilm,
        present: Iterable[str],
        vocabulary: Sequence[str],
        place: Place,
        source: Source = "expert",
        *,
        implied: bool = False,
    ) -> None:
        """Add all findings of a complete list.

        Args:
            film: that is labelled.
            present: names of the findings that are present.
            vocabulary: all names; those that are not ``present`` are absent.
            place: of the list.
            source: of the entries.
            implied: whether the entries apply only where no table states the label.
        """
        present_labels = {self.label_of(raw, place) for raw in present}
        key, reader, origin = self.key_of(film), self.reader_number(), self._origin(film, place)
        (self.implied if implied else self.labels).extend(
            LabelEntry(
                key, label, "present" if label in present_labels else "absent", None, source, 1.0, reader, origin
            )
            for label in dict.fromkeys(self.label_of(raw, place) for raw in vocabulary)
            if label is not None
        )

    def add_box(
        self,
        film: ListedFilm,
        raw: str,
        box: Box,
        place: Place,
        *,
        size: tuple[int, int] | None = None,
        frame: Frame | None = None,
        reader: str = "",
    ) -> None:
        """Add a box, clipped to the film; where it cannot be used it is listed, and only its finding is present.

        Args:
            film: that is annotated.
            raw: name of the finding in the data set.
            box: in pixels of the upright or the stored film.
            place: of the box.
            size: (width, height) in pixels of the annotated picture; None where it is not stated.
            frame: upright or stored; None takes that of the settings.
            reader: name of the reader, where a row names one.
        """
        label = self.label_of(raw, place)
        if label is None:
            return
        placed, problem = box_on_film(box, film, size, frame or self.settings.box_frame)
        if problem:
            self.add_problem(problem, place)
        if placed is None:
            self._add_boxless(film, label, place, reader)
            return
        origin = self._origin(film, place, reader)
        self.boxes.append(BoxEntry(self.key_of(film), label, placed, self.reader_number(reader), origin))

    def add_finding_without_box(self, film: ListedFilm, raw: str, place: Place, *, reader: str = "") -> None:
        """Add a finding whose box cannot be read: it is present.

        Args:
            film, raw, place, reader: as for :meth:`add_box`.
        """
        if (label := self.label_of(raw, place)) is not None:
            self._add_boxless(film, label, place, reader)

    def mark_unclear(self, film: ListedFilm, raw: str | None = None) -> None:
        """Note that something about a film was not understood, so that nothing absent is implied.

        Args:
            film: of the row or file.
            raw: name of the only label concerned; None for all.
        """
        self.unclear.add((self.key_of(film), None if raw is None else self.settings.rename.get(raw, label_name(raw))))

    def add_problem(self, code: str, place: Place, text: str = "") -> None:
        """List a problem.

        Args:
            code: of the problem.
            place: of the row.
            text: message if strict; by default that of PROBLEM_TEXTS.
        """
        message = (text or PROBLEM_TEXTS.get(code, code)) if self.strict else code
        self.problems.append(RowProblem(message, place, code, self.strict and code not in self._listed_codes))

    def unused_renames(self) -> list[str]:
        """Return the names of ``rename`` that have not occurred."""
        return sorted(self.settings.rename.keys() - self.renamed)

    def _add_boxless(self, film: ListedFilm, label: str, place: Place, reader: str) -> None:
        origin, number = self._origin(film, place, reader), self.reader_number(reader)
        entry = LabelEntry(self.key_of(film), label, "present", None, "expert", 1.0, number, origin)
        self.boxless.append(entry)

    def _origin(self, film: ListedFilm, place: Place, reader: str = "") -> Origin:
        return Origin(f"/{film.below}", place, reader or self.reader)
