"""The one collector of labels, boxes and splits, from tables and annotation files of any origin.

Every entry is kept with its film, file, line and reader. What is not used is listed as a problem: lenient, for public
data sets, by its code; strict, for the files of experts, as an error with a text for a person. Entries of one reader
that contradict each other are reconciled by :mod:`data_prep.shard_format.label_policy`.
"""

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Literal, NamedTuple

from data_prep.annotations.csv_table import csv_rows, csv_table
from data_prep.annotations.film_lookup import FilmNames, ListedFilm
from data_prep.annotations.problem_texts import PROBLEM_TEXTS
from data_prep.annotations.row_problems import Place, RowProblem
from data_prep.annotations.settings import DrawingSettings
from data_prep.annotations.split_names import GivenSplit, split_named, split_of_path
from data_prep.annotations.upright_boxes import Frame, frame_of, inside, upright_box
from data_prep.deidentify.vocabulary import normalise
from data_prep.shard_format.boxes import Box
from data_prep.shard_format.label_schema import ADJUDICATED

Value = Literal["present", "absent", "uncertain"]
Source = Literal["expert", "report", "metadata"]

MAX_REACH = 1.5
"""Pixels by which a box may reach over the edge of its film without being listed."""
_LABEL = re.compile("[a-z0-9_]{1,64}")


class Origin(NamedTuple):
    """Where an entry comes from: the film as the file names it, the place, and the name of the reader."""

    film: str
    place: Place
    reader: str = ""


class LabelEntry(NamedTuple):
    """One statement about a label of a film.

    Attributes:
        key: of the film.
        label: in lower snake case.
        value: present, absent, uncertain, not_mentioned; None with a ``number``.
        number: value of a label that is measured.
        source: expert, report or metadata.
        confidence: 0 to 1.
        reader: number of the reader, ADJUDICATED, or None where readers are not numbered.
        origin: where it comes from.
    """

    key: str
    label: str
    value: str | None
    number: float | None
    source: str
    confidence: float
    reader: int | None
    origin: Origin


class BoxEntry(NamedTuple):
    """One box, in pixels of the upright film. Attributes as those of :class:`LabelEntry`."""

    key: str
    label: str
    box: Box
    reader: int | None
    origin: Origin


class SplitEntry(NamedTuple):
    """The split that a table or folder states for a film."""

    key: str
    split: GivenSplit
    place: Place


class AnnotatedObject(NamedTuple):
    """An object of an annotation file.

    Attributes:
        name: of its class.
        box: in pixels; without one the object still is a finding of the film.
        place: where it stands.
        fault: problem of its box or outline; empty where there is none.
    """

    name: str
    box: Box | None
    place: Place
    fault: str = ""


class LabelCollector:
    """Collects entries and problems.

    Args:
        names: the films that rows may name.
        settings: how names and boxes are read.
        strict: whether problems are errors, with texts for a person in place of codes.
        listed: codes of problems that are no errors even if ``strict``.
        key_of: key of a film; by default its path below the archive.

    Attributes:
        labels: entries that tables state.
        implied: entries that follow from annotation files, where no table states the label.
        boxes, splits: further entries.
        facts: key of a film → fact → text.
        problems: rows that are not used, or only in part.
        films_named: key → film, of all films that a table or annotation file names.
        places: key → where that is, the last time.
        renamed: names of ``rename`` that have occurred.
        reader: name of the reader of all files, where no row states another one; empty where there is none.
        readers: name of a reader → number, in the order in which they first occur.
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
        self._listed = frozenset(listed)
        self.labels: list[LabelEntry] = []
        self.implied: list[LabelEntry] = []
        self.boxes: list[BoxEntry] = []
        self.splits: list[SplitEntry] = []
        self.facts: dict[str, dict[str, str]] = {}
        self.problems: list[RowProblem] = []
        self.films_named: dict[str, ListedFilm] = {}
        self.places: dict[str, Place] = {}
        self.renamed: set[str] = set()
        self.readers: dict[str, int] = {}
        self._rows: set[tuple[Path, str]] = set()
        self.reader, self._adjudicated = "", False

    def of_reader(self, name: str, *, adjudicated: bool = False) -> "LabelCollector":
        """A collector for the files of one reader: its entries and problems are added to this one.

        Args:
            name: of the reader, where no row states another one; empty where readers are not distinguished.
            adjudicated: whether the entries overrule those of readers.
        """
        part = copy.copy(self)
        part.films_named, part.places, part._rows = {}, {}, set()
        part.reader, part._adjudicated = name, adjudicated
        return part

    def reader_number(self, name: str = "") -> int | None:
        """Number of a reader, from 1; None without a name, and where a public data set names its readers."""
        name = name or self.reader
        if self._adjudicated:
            return ADJUDICATED
        return self.readers.setdefault(name, len(self.readers) + 1) if name and self.strict else None

    def files(self, root: Path, ending: str) -> list[Path]:
        """Files of the archive that are no films, by the ending of their names; hidden ones are left out."""
        found = (below for below in sorted(self.names.others) if below.endswith(ending))
        return [root / below for below in found if not any(part.startswith(".") for part in below.split("/"))]

    def film(self, name: str, place: Place, *, below: str = "") -> ListedFilm | None:
        """The film that a row names; without one the row is listed. Arguments as for :meth:`FilmNames.find`."""
        found = self.names.find(name, below=below)
        if len(found) == 1 and found[0] is not None:
            key = self.key_of(found[0])
            self.films_named[key], self.places[key] = found[0], place
            return found[0]
        self.problem("row_without_file" if not found else "name_fits_several" if len(found) > 1 else "no_film", place)
        return None

    def film_once(self, name: str, place: Place, *, below: str = "") -> ListedFilm | None:
        """The same for a table with one row per film: a second row is listed and skipped."""
        film = self.film(name, place, below=below)
        if film is None:
            return None
        row = place.file, self.key_of(film)
        if row in self._rows:
            self.problem("film_repeated", place)
            return None
        self._rows.add(row)
        return film

    def film_rows(
        self, table: Path, column: str, needed: Sequence[str] = (), *, below: str = "", once: bool = True
    ) -> Iterator[tuple[ListedFilm, dict[str, str], Place]]:
        """(film, column → cell, place) of the rows of a CSV table that name a film; the others are listed.

        Args:
            table: with a header line.
            column: that names the film.
            needed: further columns.
            below: folder in which the films have to be; empty means anywhere.
            once: whether a second row of a film is listed and skipped.

        Raises:
            ArchiveError: the table cannot be read, or a column is missing.
        """
        find = self.film_once if once else self.film
        for line, cells in csv_table(table, (column, *needed)):
            film = find(cells[column], Place(table, line), below=below)
            if film is not None:
                yield film, cells, Place(table, line)

    def add_facts(self, film: ListedFilm, **texts: str | None) -> None:
        """Facts of a film: patient, study, body_part, view, laterality, sex, age. Empty ones are left out."""
        self.facts.setdefault(self.key_of(film), {}).update({name: text for name, text in texts.items() if text})

    def add_split(self, film: ListedFilm, name: str, place: Place) -> None:
        """The split of a film, by its name in the set."""
        split = split_named(name)
        if split is None:
            self.problem("split_unknown", place)
        else:
            self.splits.append(SplitEntry(self.key_of(film), split, place))

    def add_split_list(self, table: Path, split: str) -> None:
        """The same ``split`` for the films of a list without a header line."""
        for line, cells in csv_rows(table):
            film = self.film_once(cells[0], Place(table, line))
            if film is not None:
                self.add_split(film, split, Place(table, line))

    def add_folder_splits(self, root: Path, *, known: bool = False) -> None:
        """The splits that the folders of all films name; with ``known`` only of films that have none yet."""
        done = {entry.key for entry in self.splits} if known else set()
        for film in self.names.films:
            split = split_of_path(film.below)
            if split is not None and self.key_of(film) not in done:
                self.add_split(film, split, Place(root / film.below))

    def label_of(self, raw: str, place: Place) -> str | None:
        """Label of a class or column: renamed by the settings, else in lower snake case; None leaves it out.

        A name without any letter or digit that a label may have, or one that is too long, is listed.
        """
        if raw in self.settings.rename:
            self.renamed.add(raw)
            return self.settings.rename[raw]
        label = label_name(raw)
        if label is None:
            self.problem("label_needs_rename", place)
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
        """One label of a film; ``raw`` is its name in the set, other arguments are those of :class:`LabelEntry`."""
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
        """All findings of a list that is complete: those of ``vocabulary`` that are not ``present`` are absent."""
        found = {self.label_of(raw, place) for raw in present}
        key, reader, origin = self.key_of(film), self.reader_number(), self._origin(film, place)
        (self.implied if implied else self.labels).extend(
            LabelEntry(key, label, "present" if label in found else "absent", None, source, 1.0, reader, origin)
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
        """A box around a finding. What reaches over the edge of the film is cut off, and listed beyond MAX_REACH.

        Args:
            film: that is annotated.
            raw: name of the finding in the set.
            box: in pixels of the upright or the stored film.
            place: where it stands.
            size: (width, height) in pixels of the annotated picture, if the set gives one.
            frame: upright or stored; by default that of the settings.
            reader: name of the reader, where a row names one.
        """
        label = self.label_of(raw, place)
        if label is None:
            return
        frame_used = frame_of(film, size, frame or self.settings.box_frame)
        if frame_used is None:
            self.problem("box_of_another_size", place)
            return
        upright = upright_box(box, film) if frame_used == "stored" else box
        cut = inside(upright, film.upright_size)
        if cut is None or not all(map(_is_finite, upright)):
            self.problem("box_empty" if is_empty(box) else "box_outside", place)
            return
        if max(abs(one - other) for one, other in zip(cut, upright, strict=True)) > MAX_REACH:
            self.problem("box_cut", place)
        rounded, number = Box(*(round(edge, 3) for edge in cut)), self.reader_number(reader)
        self.boxes.append(BoxEntry(self.key_of(film), label, rounded, number, self._origin(film, place, reader)))

    def add_objects(
        self, film: ListedFilm, objects: Iterable[AnnotatedObject], *, size: tuple[int, int] | None = None
    ) -> None:
        """The boxes of an annotation file; those that cannot be read are listed."""
        for name, box, place, fault in objects:
            if fault or box is None:
                self.problem(fault or "box_not_a_number", place)
            if box is not None:
                self.add_box(film, name, box, place, size=size)

    def add_annotated_film(
        self,
        film: ListedFilm,
        objects: Sequence[AnnotatedObject],
        classes: Sequence[str],
        place: Place,
        *,
        size: tuple[int, int] | None = None,
    ) -> None:
        """All objects of one film of an annotation file: boxes, and the findings that they imply.

        Args:
            film: that is annotated.
            objects: all of it.
            classes: of the annotation; those without an object are absent where ``boxes_complete``.
            place: where the film stands in the file.
            size: (width, height) of the annotated picture in pixels; None where it is not given.
        """
        self.add_objects(film, objects, size=size)
        present = list(dict.fromkeys(found.name for found in objects))
        self.add_findings(film, present, classes if self.settings.boxes_complete else present, place, implied=True)

    def problem(self, code: str, place: Place, text: str = "") -> None:
        """List a problem: by its code, in strict files by ``text`` or that of PROBLEM_TEXTS."""
        shown = (text or PROBLEM_TEXTS.get(code, code)) if self.strict else code
        self.problems.append(RowProblem(shown, place, code, self.strict and code not in self._listed))

    def unused_names(self) -> list[str]:
        """Names of ``rename`` that have not occurred."""
        return sorted(self.settings.rename.keys() - self.renamed)

    def _origin(self, film: ListedFilm, place: Place, reader: str = "") -> Origin:
        return Origin(f"/{film.below}", place, reader or self.reader)


@lru_cache(1024)
def label_name(raw: str) -> str | None:
    """A name of a set as a label: lower snake case; None where no character is left, or too many."""
    name = normalise(raw).replace(" ", "_")
    return name if _LABEL.fullmatch(name) else None


def is_label(name: str) -> bool:
    """Whether a name can be a label as it stands."""
    return _LABEL.fullmatch(name) is not None


def is_empty(box: Box) -> bool:
    """Whether a box holds no area."""
    return not (box.x_min < box.x_max and box.y_min < box.y_max)


def _is_finite(edge: float) -> bool:
    return abs(edge) < float("inf")
