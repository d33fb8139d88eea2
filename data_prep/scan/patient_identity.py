"""Who is who in an archive, and which raw data belong to which film: what no single header tells.

Films of one person under two keys could train by the one and test by the other. So patients are joined, never parted,
wherever the headers may mean the same person:

* films of one study are of one patient, whatever numbers they bear;
* a number without an issuer may be any issuer's: such films join every patient of the archive with that number.

Joining can only make a patient too large. A study without any number stands for its patient, who is then unknown.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.deidentify.pseudonyms import Pseudonyms
from data_prep.errors import Reason

_DAY_ZERO = date(1970, 1, 1)


class _Groups:
    """Things that are joined pair by pair (union by the smaller number, paths halved)."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._parents: list[int] = []

    def number(self, thing: object) -> int:
        """The number of a thing, new or known."""
        number = self._numbers.setdefault(thing, len(self._parents))
        if number == len(self._parents):
            self._parents.append(number)
        return number

    def find(self, thing: object) -> int:
        """The group of a thing: the smallest number in it."""
        node, parents = self.number(thing), self._parents
        while parents[node] != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    def join(self, one: object, other: object) -> None:
        """Make one group of the groups of two things."""
        first, second = sorted((self.find(one), self.find(other)))
        self._parents[second] = first


def patients(headers: pa.Table, pseudonyms: Pseudonyms, source: str) -> tuple[dict[str, pa.Array], int]:
    """(columns patient, patient_known and study_day of all rows; how many patient numbers were joined to others).

    Args:
        headers: rows of the header table.
        pseudonyms: makes the keys.
        source: issuer of the numbers that name none.
    """
    who = headers.select(["study", "patient_id", "issuer"]).filter(pc.is_valid(headers["key"]))
    seen = who.group_by(["study", "patient_id", "issuer"]).aggregate([]).to_pylist()
    groups = _Groups()
    issuers: dict[str, set[str | None]] = defaultdict(set)
    for row in seen:
        groups.number(row["study"])
        if row["patient_id"] is not None:
            groups.join(row["study"], (row["patient_id"], row["issuer"]))
            issuers[row["patient_id"]].add(row["issuer"])
    for number, named in issuers.items():
        for issuer in named if None in named else ():
            groups.join((number, None), (number, issuer))
    numbers: dict[int, set[tuple[str, str | None]]] = defaultdict(set)
    for row in seen:
        if row["patient_id"] is not None:
            numbers[groups.find(row["study"])].add((row["patient_id"], row["issuer"]))
    keys = {group: _patient_key(found, pseudonyms, source) for group, found in numbers.items()}
    of_study = {row["study"]: keys.get(groups.find(row["study"])) for row in seen}
    joined = sum(len(found) - 1 for found in numbers.values())
    return _columns(headers, of_study, pseudonyms), joined


def _patient_key(numbers: set[tuple[str, str | None]], pseudonyms: Pseudonyms, source: str) -> str:
    """Of all the numbers of one patient, the key of the one that tells most: what names an issuer goes first."""
    named = [(number, issuer) for number, issuer in numbers if issuer is not None]
    chosen = named or [(number, source) for number, _ in numbers]
    return min(pseudonyms.patient(issuer, number) for number, issuer in chosen)


def _columns(headers: pa.Table, of_study: dict[str, str | None], pseudonyms: Pseudonyms) -> dict[str, pa.Array]:
    study = headers["study"].combine_chunks().dictionary_encode()
    studies = study.dictionary.to_pylist()
    known = pa.array([of_study[one] is not None for one in studies], pa.bool_())
    keys = pa.array([of_study[one] or pseudonyms.patient_of_study(one) for one in studies], pa.string())
    patient, patient_known = keys.take(study.indices), known.take(study.indices)
    encoded = patient.dictionary_encode()
    shifts = [pseudonyms.study_day(one, _DAY_ZERO) for one in encoded.dictionary.to_pylist()]
    shift = pa.array(shifts, pa.int32()).take(encoded.indices)
    day = pc.add(headers["study_date"].combine_chunks().cast(pa.int32()), shift)
    return {
        "patient": patient,
        "patient_known": patient_known,
        "study_day": pc.if_else(patient_known, day, pa.scalar(None, pa.int32())),
    }


def twins(headers: pa.Table) -> pa.Array:
    """[rows] for raw data, the key of the film for presentation of the same exposure and study; null without one.

    By the film's Source Image Sequence, else by Irradiation Event UID, else by the time of acquisition together with
    view and side: two exposures of a study do not begin in the same second.
    """
    raw = pc.fill_null(pc.match_substring(headers["marks"], Reason.FOR_PROCESSING), False)
    found: list[str | None] = [None] * headers.num_rows
    places = np.flatnonzero(raw.to_numpy())
    if places.size:
        studies = pc.unique(headers["study"].filter(raw))
        others = pc.and_(pc.is_valid(headers["key"]), pc.and_(pc.invert(raw), pc.is_in(headers["study"], studies)))
        shown: dict[tuple[str, ...], str] = {}
        for film in sorted(headers.filter(others).select(_TOLD).to_pylist(), key=lambda film: str(film["key"])):
            sources = [("source", film["study"], source) for source in film["sources"] or ()]
            for clue in (*sources, *_clues(film)):
                shown.setdefault(clue, film["key"])
        for place, film in zip(places, headers.take(places).select(_TOLD).to_pylist(), strict=True):
            clues = (("source", film["study"], film["sop_instance_uid"]), *_clues(film))
            found[place] = next((shown[clue] for clue in clues if clue in shown), None)
    return pa.array(found, pa.string())


_TOLD = ["key", "study", "sop_instance_uid", "sources", "irradiation_event", "acquired", "view", "laterality"]


def _clues(film: dict[str, Any]) -> Iterable[tuple[str, ...]]:
    """What two objects of one exposure have in common, the surest first."""
    if film["irradiation_event"]:
        yield "event", film["study"], film["irradiation_event"]
    if film["acquired"]:
        yield "time", film["study"], film["acquired"], film["view"] or "", film["laterality"] or ""
