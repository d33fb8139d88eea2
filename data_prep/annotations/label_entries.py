"""Entries of tables and annotation files: labels, boxes and splits of films, each with its origin."""

import re
from functools import lru_cache
from typing import Literal, NamedTuple

from data_prep.annotations.row_problems import Place
from data_prep.annotations.split_names import GivenSplit
from data_prep.deidentify.vocabulary import normalise
from data_prep.shard_format.boxes import Box

Value = Literal["present", "absent", "uncertain"]
Source = Literal["expert", "report", "metadata"]

_LABEL = re.compile("[a-z0-9_]{1,64}")


class Origin(NamedTuple):
    """Where an entry comes from.

    Attributes:
        film: as the file names it.
        place: file and line.
        reader: name of the reader; empty where there is none.
    """

    film: str
    place: Place
    reader: str = ""


class LabelEntry(NamedTuple):
    """One entry for a label of a film.

    Attributes:
        key: of the film.
        label: in lower snake case.
        value: present, absent, uncertain or not_mentioned; None with a ``number``.
        number: value of a numeric label; None with a ``value``.
        source: expert, report or metadata.
        confidence: 0 to 1.
        reader: number of the reader, ADJUDICATED, or None where readers are not numbered.
        origin: film, file, line and reader as the file gives them.
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
        box: in pixels; None where it cannot be read, which does not affect the finding.
        place: file and line.
        fault: code of the problem of its box or outline; empty where there is none.
    """

    name: str
    box: Box | None
    place: Place
    fault: str = ""


@lru_cache(1024)
def label_name(raw: str) -> str | None:
    """Convert a name to a label in lower snake case; None if it has no valid character, or more than 64."""
    name = normalise(raw).replace(" ", "_")
    return name if _LABEL.fullmatch(name) else None


def is_label(name: str) -> bool:
    """Whether a name is a valid label."""
    return _LABEL.fullmatch(name) is not None
