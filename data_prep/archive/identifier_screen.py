"""Find what identifies the patients of a scan in labels and columns of numbers, before and after they are published.

* The name of a label may hold no part of a patient's name, and no digits of a number or date of a patient.
* A column of numbers may not carry, for more than a twentieth of its films, a number or date of their own patient, in
  any power of ten.
"""

import re
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.archive.manifest import digest_key, write_private_text
from data_prep.bounded_reading import read_bounded
from data_prep.deidentify.person_digests import person_digest, words_of_label

CONFIRMED_FILE = "not_names.txt"
"""Words of labels in the private folder that a person has confirmed to be no names although patients bear them."""
MAX_SHARE = 0.05
_MIN_FILMS = 2
_MIN_DIGITS = 5
_MIN_DISTINCT_DIGITS = 4
"""Digits of a number without the zeros at its ends."""
_NUMBERS = ("patient_id", "accession")
_MAX_BYTES = 2**20


class IdentifierScreen:
    """Screens labels and numbers for identifiers.

    Args:
        linkage: linkage table of the scan.
        confirmed: words of labels that are no names.
    """

    def __init__(self, linkage: pa.Table, confirmed: Iterable[str] = ()) -> None:
        self._linkage, self._confirmed = linkage, frozenset(confirmed)
        self._key = digest_key(linkage)
        has_digests = self._key is not None and "name_digests" in linkage.column_names
        names = pc.unique(pc.list_flatten(linkage["name_digests"])).to_pylist() if has_digests else []
        self._names = frozenset(names)
        self._numbers: frozenset[str] | None = None
        self._own: dict[str, frozenset[str]] | None = None

    def names_a_person(self, label: str) -> bool:
        """Whether a word of a label is a part of the name of a patient."""
        if self._key is None or not self._names:
            return False
        words = (word for word in words_of_label(label) if word not in self._confirmed)
        return any(person_digest(self._key, word) in self._names for word in words)

    def holds_a_number(self, label: str) -> bool:
        """Whether the digits of a label are those of a number or date of a patient."""
        groups = re.findall("[0-9]+", label)
        texts = {text for text in (*groups, "".join(groups)) if len(text) >= _MIN_DIGITS}
        if not texts:
            return False
        if self._numbers is None:
            self._numbers = frozenset().union(*(self._own_of(row) for row in self._rows()))
        return any(self._is_in(text, self._numbers) for text in texts)

    def carries_numbers(self, column: Iterable[tuple[str, float | str]]) -> bool:
        """Whether the numbers of a column are those of the patients of their films.

        Args:
            column: (key of a film, number), numbers as they would be written.
        """
        if self._own is None:
            self._own = {str(row["key"]): self._own_of(row) for row in self._rows() if row["key"]}
        films: set[str] = set()
        found: set[str] = set()
        for key, number in column:
            films.add(key)
            own = self._own.get(key)
            if own and any(self._is_in(text, own) for text in _digits_of(number)):
                found.add(key)
        return len(found) >= _MIN_FILMS and len(found) > MAX_SHARE * len(films)

    def _rows(self) -> list[dict[str, str | list[str] | None]]:
        dates = ["date_digests"] if self._key is not None and "date_digests" in self._linkage.column_names else []
        return self._linkage.select(["key", *_NUMBERS, *dates]).to_pylist()  # type: ignore[no-any-return]

    def _own_of(self, row: dict[str, str | list[str] | None]) -> frozenset[str]:
        """Numbers of a patient without the zeros at their ends, and digests of dates."""
        own: set[str] = set()
        for name in _NUMBERS:
            groups = re.findall("[0-9]+", str(row[name] or ""))
            long = {text for text in (*groups, "".join(groups)) if len(text) >= _MIN_DIGITS}
            own |= long | {text.strip("0") for text in long}
        own = {text for text in own if len(text) >= _MIN_DISTINCT_DIGITS}
        return frozenset(own | set(row.get("date_digests") or ()))

    def _is_in(self, digits: str, own: frozenset[str]) -> bool:
        stripped = digits.strip("0")
        if digits in own or (len(stripped) >= _MIN_DISTINCT_DIGITS and stripped in own):
            return True
        forms = {digits, digits.zfill(8), digits.zfill(6), stripped.ljust(8, "0"), digits.ljust(8, "0")}
        return self._key is not None and any(person_digest(self._key, form) in own for form in forms)


def _digits_of(number: float | str) -> set[str]:
    """The digits of a number, all of them and those after the point, without zeros that a power of ten moves."""
    whole, _, fraction = format(Decimal(str(number)).copy_abs(), "f").partition(".")
    texts = {(whole + fraction).lstrip("0"), whole, fraction.lstrip("0"), (whole + fraction).strip("0")}
    return {text for text in texts if len(text) >= _MIN_DISTINCT_DIGITS}


def read_confirmed(private: Path) -> frozenset[str]:
    """Read the words of labels that are confirmed to be no names."""
    try:
        return frozenset(read_bounded(private / CONFIRMED_FILE, _MAX_BYTES).decode().split())
    except (OSError, UnicodeDecodeError):
        return frozenset()


def write_confirmed(private: Path, words: Iterable[str]) -> None:
    """Add words of labels that are confirmed to be no names."""
    write_private_text(private / CONFIRMED_FILE, "\n".join(sorted(read_confirmed(private) | set(words))) + "\n")
