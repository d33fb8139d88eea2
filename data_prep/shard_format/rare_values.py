"""Patients who stand out by what the index tells of them: someone who knows such a patient may recognise the row."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

MIN_PATIENTS = 10
"""A value that fewer patients have is rare."""
QUASI_IDENTIFIERS = ("body_part", "sex", "age_years", "manufacturer")
"""Columns that somebody else may know of a patient, or see on the film."""


class RareValues(NamedTuple):
    """How many patients stand out.

    Attributes:
        columns: column → number of its values that fewer than MIN_PATIENTS patients have, where there are any.
        patients: patients with such a value.
        alone: patients whose combination of all QUASI_IDENTIFIERS no other patient has.
    """

    columns: dict[str, int]
    patients: int
    alone: int

    def __str__(self) -> str:
        """The counts in words, without a value."""
        columns = ", ".join(f"{name} {count}" for name, count in self.columns.items())
        return (
            f"{self.patients} patients with a value that fewer than {MIN_PATIENTS} have ({columns}), {self.alone} alone"
            " with their body part, sex, age and manufacturer: decide whether they may be shared"
        )


def find_rare_values(index: pa.Table) -> RareValues:
    """Count the patients who stand out.

    Args:
        index: columns ``patient`` and QUASI_IDENTIFIERS.
    """
    patient = _codes(index["patient"])
    columns: dict[str, int] = {}
    is_rare = np.zeros(index.num_rows, dtype=np.bool_)
    for name in QUASI_IDENTIFIERS:
        rare = patients_per_value(index[name], patient) < MIN_PATIENTS
        known = np.asarray(index[name].is_valid())
        if count := len(np.unique(_codes(index[name])[rare & known])):
            columns[name] = count
        is_rare |= rare & known
    together = np.stack([_codes(index[name]) for name in QUASI_IDENTIFIERS], axis=1)
    pairs = np.unique(np.c_[together, patient], axis=0)
    _, patients = np.unique(pairs[:, :-1], axis=0, return_counts=True)
    alone = len(np.unique(_members_of_single(pairs, patients)))
    return RareValues(columns, len(np.unique(patient[is_rare])), alone)


def patients_per_value(column: pa.ChunkedArray, patient: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count for each film the patients who have its value.

    Args:
        column: [films] values.
        patient: [films] number of the patient.
    """
    values = _codes(column)
    pairs = np.unique(np.stack([values, patient], axis=1), axis=0)
    return np.asarray(np.bincount(pairs[:, 0], minlength=int(values.max(initial=0)) + 1)[values], dtype=np.int64)


def _members_of_single(pairs: NDArray[np.int64], patients: NDArray[np.int64]) -> NDArray[np.int64]:
    """Patients of the combinations, sorted as in ``pairs``, that one patient has."""
    return np.asarray(pairs[np.repeat(patients == 1, patients), -1], dtype=np.int64)


def _codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """[rows] number of each value; one for all that are not known."""
    encoded = column.combine_chunks().dictionary_encode()
    return np.asarray(encoded.indices.fill_null(len(encoded.dictionary)), dtype=np.int64)
