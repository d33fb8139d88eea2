"""What the tables of a public set tell of its films, collected row by row; what cannot be used is listed, not lost."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from data_prep.annotations.film_lookup import FilmNames, ListedFilm
from data_prep.annotations.settings import DrawingSettings
from data_prep.annotations.upright_boxes import Frame, frame_of, inside, upright_box
from data_prep.deidentify.vocabulary import normalise
from data_prep.errors import ArchiveError
from data_prep.shard_format.boxes import Box

Value = Literal["present", "absent", "uncertain"]
Source = Literal["expert", "report", "metadata"]
GivenSplit = Literal["train", "val", "test", "train_val"]

ROUNDING = 1.5
"""Pixels by which a box may stand over the edge of its film without being listed."""
_LABEL = re.compile("[a-z0-9_]{1,64}")
_MOST_LABELS = 256
_HELD_OUT: tuple[GivenSplit, ...] = ("test", "val", "train_val", "train")
_SPLIT_WORDS: dict[str, GivenSplit] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev", "tune"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("train_val", "trainval"), "train_val"),
}


class Where(NamedTuple):
    """A line of a table; line 0 is the whole file. With ``part`` a member of that list of the file, from 0."""

    file: Path
    line: int = 0
    part: str = ""

    def __str__(self) -> str:
        if self.part:
            return f"{self.file} {self.part}[{self.line}]"
        return f"{self.file} line {self.line}" if self.line else str(self.file)


class Problem(NamedTuple):
    """Something that could not be used, or only in part."""

    problem: str
    where: Where


class Label(NamedTuple):
    """A finding of a film: a value or a number."""

    value: Value | None
    number: float | None = None
    source: Source = "expert"
    confidence: float = 1.0


class Drawn(NamedTuple):
    """An object of an annotation file: its class, its box in pixels, and where it stands.

    Without a box that can be read it still is a finding of the film. ``fault`` is a problem of its drawing.
    """

    name: str
    box: Box | None
    where: Where
    fault: str = ""


class ToldBox(NamedTuple):
    """A box in pixels of the upright film."""

    box: Box
    reader: str | None


class Told:
    """What a layout finds out.

    Args:
        names: the films of the archive.
        settings: how names and boxes are read.
    """

    def __init__(self, names: FilmNames, settings: DrawingSettings) -> None:
        self.names, self.settings = names, settings
        self.facts: dict[int, dict[str, str]] = {}
        self.splits: dict[int, GivenSplit] = {}
        self.labels: dict[tuple[int, str], Label] = {}
        self.boxes: dict[tuple[int, str], dict[ToldBox, None]] = {}
        self.problems: list[Problem] = []
        self.spoken: dict[int, ListedFilm] = {}
        """Films that a table or file of the set names."""
        self.named: dict[int, Where] = {}
        """Where it does, the last time."""
        self._rows: set[tuple[Path, int]] = set()
        self._renamed: set[str] = set()

    def files(self, root: Path, ending: str) -> list[Path]:
        """Files of the archive that are no films, by the ending of their names; hidden ones are left out."""
        found = (below for below in sorted(self.names.others) if below.endswith(ending))
        return [root / below for below in found if not any(part.startswith(".") for part in below.split("/"))]

    def film(self, name: str, where: Where, *, below: str = "") -> ListedFilm | None:
        """The film that a row speaks of; without one the row is listed. Arguments as for :meth:`FilmNames.find`."""
        found = self.names.find(name, below=below)
        if len(found) == 1 and found[0] is not None:
            self.spoken[found[0].row], self.named[found[0].row] = found[0], where
            return found[0]
        self.problem("row_without_file" if not found else "name_fits_several" if len(found) > 1 else "no_film", where)
        return None

    def row(self, name: str, where: Where, *, below: str = "") -> ListedFilm | None:
        """The same for a table with one row per film: a second row is listed and passed over."""
        film = self.film(name, where, below=below)
        if film is not None and (where.file, film.row) in self._rows:
            self.problem("film_repeated", where)
            return None
        if film is not None:
            self._rows.add((where.file, film.row))
        return film

    def fact(self, film: ListedFilm, **words: str | None) -> None:
        """Words of a film: patient, study, body_part, view, laterality, sex, age. Empty ones say nothing."""
        self.facts.setdefault(film.row, {}).update({name: word for name, word in words.items() if word})

    def split(self, film: ListedFilm, word: str, where: Where) -> None:
        """The split of a film by the set; of several, which are listed, the one that keeps most out of training."""
        split = split_word(word)
        if split is None:
            self.problem("split_unknown", where)
        elif (before := self.splits.setdefault(film.row, split)) != split:
            self.problem("split_conflict", where)
            self.splits[film.row] = most_held_out({before, split})

    def name(self, raw: str, where: Where) -> str | None:
        """Label of a class or column: renamed by the settings, else in lower snake case; None leaves it out.

        A name without any letter or digit that a label may have, or one that is too long, is listed:
        ``tables.rename`` can give it one.
        """
        if raw in self.settings.rename:
            self._renamed.add(raw)
            return self.settings.rename[raw]
        label = label_name(raw)
        if label is None:
            self.problem("label_needs_rename", where)
        return label

    def label(self, film: ListedFilm, raw: str, label: Label, where: Where) -> None:
        """A finding. What an expert says goes before a report; where two equal ones differ it is uncertain, listed."""
        if (name := self.name(raw, where)) is not None:
            self._label(film, name, label, where)

    def value(self, film: ListedFilm, name: str) -> Value | None:
        """What has been told of a label so far."""
        label = self.labels.get((film.row, name))
        return label.value if label is not None else None

    def findings(
        self,
        film: ListedFilm,
        present: Iterable[str],
        vocabulary: Sequence[str],
        where: Where,
        source: Source = "expert",
    ) -> None:
        """All findings of a list that is complete: those of ``vocabulary`` that are not ``present`` are absent."""
        there = {self.name(raw, where) for raw in present}
        for name in dict.fromkeys(self.name(raw, where) for raw in vocabulary):
            if name is not None:
                self._label(film, name, Label("present" if name in there else "absent", source=source), where)

    def box(
        self,
        film: ListedFilm,
        raw: str,
        box: Box,
        where: Where,
        *,
        size: tuple[int, int] | None = None,
        frame: Frame | None = None,
        reader: str | None = None,
    ) -> None:
        """A box around a finding, on a picture of ``size`` (width, height) if the set gives one.

        What reaches over the edge is cut off; it is listed beyond rounding, as is an empty or repeated box.
        """
        name = self.name(raw, where)
        if name is None:
            return
        own = frame_of(film, size, frame or self.settings.box_frame)
        if own is None:
            self.problem("box_of_another_size", where)
            return
        upright = upright_box(box, film) if own == "stored" else box
        cut = inside(upright, film.upright_size)
        if cut is None or not all(map(_finite, upright)):
            self.problem("box_empty" if _empty(box) else "box_outside", where)
            return
        if max(abs(one - other) for one, other in zip(cut, upright, strict=True)) > ROUNDING:
            self.problem("box_cut", where)
        boxes = self.boxes.setdefault((film.row, name), {})
        told = ToldBox(Box(*(round(edge, 3) for edge in cut)), reader)
        if told in boxes:
            self.problem("box_repeated", where)
        boxes[told] = None

    def drawn(
        self,
        film: ListedFilm,
        objects: Sequence[Drawn],
        vocabulary: Sequence[str],
        where: Where,
        *,
        size: tuple[int, int] | None = None,
    ) -> None:
        """All objects of one annotation file: boxes, and findings of the classes in ``vocabulary``."""
        self.objects(film, objects, size=size)
        present = list(dict.fromkeys(drawn.name for drawn in objects))
        self.findings(film, present, vocabulary if self.settings.boxes_complete else present, where)

    def objects(self, film: ListedFilm, objects: Sequence[Drawn], *, size: tuple[int, int] | None = None) -> None:
        """The boxes of one annotation file; those that cannot be read are listed."""
        for name, box, place, fault in objects:
            if fault or box is None:
                self.problem(fault or "box_not_a_number", place)
            if box is not None:
                self.box(film, name, box, place, size=size)

    def problem(self, problem: str, where: Where) -> None:
        """List something."""
        self.problems.append(Problem(problem, where))

    def _label(self, film: ListedFilm, name: str, label: Label, where: Where) -> None:
        before = self.labels.setdefault((film.row, name), label)
        if before == label or (before.source == "expert" and label.source != "expert"):
            return
        if label.source == "expert" and before.source != "expert":
            self.labels[film.row, name] = label
            return
        self.problem("label_conflict", where)
        if before.value is not None and label.value is not None:
            self.labels[film.row, name] = before._replace(value="uncertain", number=None)

    def settle(self, file: Path) -> None:
        """Let boxes and labels agree: a finding with a box is present. Against an expert's word it is uncertain.

        Raises:
            ArchiveError: so many labels that they must be something else, such as names of people.
        """
        for row, name in self.boxes:
            label = self.labels.get((row, name))
            if label is None or (label.source != "expert" and label.value != "present"):
                self.labels[row, name] = Label("present")
            elif label.value == "absent":
                self.labels[row, name] = label._replace(value="uncertain")
                self.problem("box_against_label", Where(file))
        for _ in self.unused_names():
            self.problem("rename_without_name", Where(file))
        labels = {name for _, name in self.labels}
        if len(labels) > _MOST_LABELS:
            raise ArchiveError(f"{len(labels)} different labels in {file}: a wrong column? Public labels name findings")

    def unused_names(self) -> list[str]:
        """Names of ``rename`` that have not occurred."""
        return sorted(self.settings.rename.keys() - self._renamed)

    def counts(self) -> Counter[str]:
        """Problem → how often."""
        return Counter(problem.problem for problem in self.problems)


def most_held_out(splits: Iterable[GivenSplit]) -> GivenSplit:
    """Of several splits of one film or patient the one that lets nothing leak into training."""
    return min(splits, key=_HELD_OUT.index)


def split_word(word: str) -> GivenSplit | None:
    """The split that a word of a table or folder means."""
    return _SPLIT_WORDS.get(word.strip().lower().replace("-", "_"))


def split_of_path(below: str) -> GivenSplit | None:
    """The split that the folders of a path name, the innermost first."""
    return next((split for part in below.split("/")[-2::-1] if (split := split_word(part))), None)


@lru_cache(1024)
def label_name(raw: str) -> str | None:
    """The label that a name of a set becomes: lower snake case; None where nothing of it is left, or too much."""
    name = normalise(raw).replace(" ", "_")
    return name if _LABEL.fullmatch(name) else None


def _finite(edge: float) -> bool:
    return abs(edge) < float("inf")


def _empty(box: Box) -> bool:
    return not (box.x_min < box.x_max and box.y_min < box.y_max)
