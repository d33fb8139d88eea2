"""Parts of the films for which figures are told apart: body part, view, sex, age."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Flags = NDArray[np.bool_]

COLUMNS = ("body_part", "view", "sex")
AGES = {"0-17": (0, 17), "18-39": (18, 39), "40-64": (40, 64), "65-79": (65, 79), "80+": (80, 200)}
UNKNOWN, OTHER = "unknown", "other"

FEWEST_PATIENTS = 10
"""A value that fewer patients share is told with the others of its kind: as rare as that it may point at a person."""


def subgroups(films: pa.Table, patients: NDArray[np.int64]) -> Iterator[tuple[str, Flags]]:
    """``column=value`` and which of the films [N] it holds; films without a value are ``unknown``.

    Args:
        films: [N] rows of the index.
        patients: [N] number of the patient of each.
    """
    columns = {name: [value or UNKNOWN for value in films.column(name).to_pylist()] for name in COLUMNS}
    columns["age"] = [_band(age) for age in films.column("age_years").to_pylist()]
    for name, values in columns.items():
        words = np.array(values, dtype=object)
        parts = {value: words == value for value in sorted(set(values))}
        few = [value for value, here in parts.items() if len(np.unique(patients[here])) < FEWEST_PATIENTS]
        for value, here in parts.items():
            if value not in few:
                yield f"{name}={value}", here
        if few:
            yield f"{name}={OTHER}", np.isin(words, np.array(few, dtype=object))


def _band(age: int | None) -> str:
    return next((name for name, (low, high) in AGES.items() if age is not None and low <= age <= high), UNKNOWN)
