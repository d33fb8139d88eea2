"""Identifies the patients of an archive, and pairs raw data with the film for presentation of the same exposure.

Films of one person under two keys could be in the training split and in the test split. Therefore patients are joined
wherever the headers may mean the same person, and never divided:

* films of one study belong to one patient, even if their patient numbers differ;
* a number without an issuer can belong to any issuer: such films join all patients of the archive with that number.

Joining can only make a patient too large. A study without any number counts as a patient of its own, who is unknown.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.deidentify.pseudonyms import Pseudonyms, canonical_number, is_placeholder
from data_prep.errors import Reason

_KEYS = pa.list_(pa.string())
_DAY_ZERO = date(1970, 1, 1)


class _Groups:
    """Disjoint sets (union-find with path halving; the smallest number represents a set)."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._parents: list[int] = []

    def number(self, member: object) -> int:
        """The number of a member; a new member gets the next number."""
        number = self._numbers.setdefault(member, len(self._parents))
        if number == len(self._parents):
            self._parents.append(number)
        return number

    def find(self, member: object) -> int:
        """The set of a member: the smallest number in it."""
        node, parents = self.number(member), self._parents
        while parents[node] != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    def join(self, member: object, other: object) -> None:
        """Unite the sets of two members."""
        first, second = sorted((self.find(member), self.find(other)))
        self._parents[second] = first


def patients(
    headers: pa.Table, pseudonyms: Pseudonyms, source: str, keys: int = 2
) -> tuple[dict[str, pa.Array], pa.Array, int]:
    """Assign a patient to every row.

    With ``keys`` 2, numbers that differ in case, blanks or leading zeros are one, and placeholders are none.

    Args:
        headers: rows of the header table (HEADERS_SCHEMA).
        pseudonyms: makes the keys.
        source: issuer of the numbers without an issuer.
        keys: how keys are made, see ``ScanSettings``.

    Returns:
        The columns patient, patient_known and study_day; [rows] the keys that the patient would have without an issuer
        and with ``source``; and how many patient numbers were joined to others.
    """
    identities = headers.select(["study", "patient_id", "issuer"]).filter(pc.is_valid(headers["key"]))
    combinations = identities.group_by(["study", "patient_id", "issuer"]).aggregate([]).to_pylist()
    spellings: set[str] = {row["patient_id"] for row in combinations if row["patient_id"] is not None}
    if keys > 1:
        for row in combinations:
            row["patient_id"] = _number(row["patient_id"])
    groups = _Groups()
    issuers: dict[str, set[str | None]] = defaultdict(set)
    for row in combinations:
        groups.number(row["study"])
        if row["patient_id"] is not None:
            groups.join(row["study"], (row["patient_id"], row["issuer"]))
            issuers[row["patient_id"]].add(row["issuer"])
    for number, known_issuers in issuers.items():
        for issuer in known_issuers if None in known_issuers else ():
            groups.join((number, None), (number, issuer))
    numbers: dict[int, set[tuple[str, str | None]]] = defaultdict(set)
    for row in combinations:
        if row["patient_id"] is not None:
            numbers[groups.find(row["study"])].add((row["patient_id"], row["issuer"]))
    key_of = {group: _patient_key(joined_numbers, pseudonyms, source) for group, joined_numbers in numbers.items()}
    aliases = {group: _aliases(joined_numbers, pseudonyms, source) for group, joined_numbers in numbers.items()}
    group_of = {row["study"]: groups.find(row["study"]) for row in combinations}
    patient_of_study = {study: key_of.get(group) for study, group in group_of.items()}
    joined = sum(len(joined_numbers) - 1 for joined_numbers in numbers.values())
    if keys > 1:
        meant = [canonical for canonical in map(_number, spellings) if canonical is not None]
        joined += len(meant) - len(set(meant))
    studies = headers["study"].combine_chunks().dictionary_encode()
    of_study = pa.array([aliases.get(group_of.get(study, -1)) for study in studies.dictionary.to_pylist()], _KEYS)
    return _columns(headers, patient_of_study, pseudonyms), of_study.take(studies.indices), joined


def _number(patient_id: str | None) -> str | None:
    """A patient number as keys are made of it; None for one that stands for no patient."""
    return None if patient_id is None or is_placeholder(patient_id) else canonical_number(patient_id)


def _aliases(numbers: set[tuple[str, str | None]], pseudonyms: Pseudonyms, source: str) -> list[str]:
    """Keys that these numbers would have if no header named an issuer."""
    return sorted({pseudonyms.patient(issuer, number) for number, _ in numbers for issuer in ("", source)})


def _patient_key(numbers: set[tuple[str, str | None]], pseudonyms: Pseudonyms, source: str) -> str:
    """One key for all numbers of a patient; numbers with an issuer precede those without."""
    with_issuer = [(number, issuer) for number, issuer in numbers if issuer is not None]
    candidates = with_issuer or [(number, source) for number, _ in numbers]
    return min(pseudonyms.patient(issuer, number) for number, issuer in candidates)


def _columns(headers: pa.Table, patient_of_study: dict[str, str | None], pseudonyms: Pseudonyms) -> dict[str, pa.Array]:
    study = headers["study"].combine_chunks().dictionary_encode()
    studies = study.dictionary.to_pylist()
    known = pa.array([patient_of_study[key] is not None for key in studies], pa.bool_())
    keys = pa.array([patient_of_study[key] or pseudonyms.patient_of_study(key) for key in studies], pa.string())
    patient, patient_known = keys.take(study.indices), known.take(study.indices)
    encoded = patient.dictionary_encode()
    shifts = [pseudonyms.study_day(key, _DAY_ZERO) for key in encoded.dictionary.to_pylist()]
    shift = pa.array(shifts, pa.int32()).take(encoded.indices)
    day = pc.add(headers["study_date"].combine_chunks().cast(pa.int32()), shift)
    return {
        "patient": patient,
        "patient_known": patient_known,
        "study_day": pc.if_else(patient_known, day, pa.scalar(None, pa.int32())),
    }


def twins(headers: pa.Table) -> pa.Array:
    """Find the film for presentation of the same exposure and study for all raw data.

    Pairs are found by the Source Image Sequence of the film, else by Irradiation Event UID, else by the time of
    acquisition together with view and laterality: two exposures of a study do not begin in the same second.

    Args:
        headers: rows of the header table (HEADERS_SCHEMA).

    Returns:
        [rows] key of the film for presentation; null for films that are not raw data or have no pair.
    """
    is_raw = pc.fill_null(pc.match_substring(headers["marks"], Reason.FOR_PROCESSING), False)
    twin_keys: list[str | None] = [None] * headers.num_rows
    raw_rows = np.flatnonzero(is_raw.to_numpy())
    if raw_rows.size:
        studies = pc.unique(headers["study"].filter(is_raw))
        is_candidate = pc.and_(
            pc.is_valid(headers["key"]), pc.and_(pc.invert(is_raw), pc.is_in(headers["study"], studies))
        )
        candidates = headers.filter(is_candidate).select(_EXPOSURE_COLUMNS).to_pylist()
        film_of_clue: dict[tuple[str, ...], str] = {}
        for film in sorted(candidates, key=lambda film: str(film["key"])):
            sources = [("source", film["study"], source) for source in film["sources"] or ()]
            for clue in (*sources, *_clues(film)):
                film_of_clue.setdefault(clue, film["key"])
        for row, film in zip(raw_rows, headers.take(raw_rows).select(_EXPOSURE_COLUMNS).to_pylist(), strict=True):
            clues = (("source", film["study"], film["sop_instance_uid"]), *_clues(film))
            twin_keys[row] = next((film_of_clue[clue] for clue in clues if clue in film_of_clue), None)
    return pa.array(twin_keys, pa.string())


_EXPOSURE_COLUMNS = [
    *("key", "study", "sop_instance_uid", "sources", "irradiation_event", "acquired", "view", "laterality"),
]


def _clues(film: dict[str, Any]) -> Iterable[tuple[str, ...]]:
    """Values that two objects of one exposure share, the most reliable first."""
    if film["irradiation_event"]:
        yield "event", film["study"], film["irradiation_event"]
    if film["acquired"]:
        yield "time", film["study"], film["acquired"], film["view"] or "", film["laterality"] or ""
