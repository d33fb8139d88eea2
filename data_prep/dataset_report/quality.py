"""What the columns of the index say of quality, and whether the splits leak."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.dataset_report.census import Codes, codes_of
from data_prep.dataset_report.near_duplicates import pixel_checksum
from data_prep.shard_format.sidecar import SPLITS

CLIPPED = 0.05
"""A film with a larger part of its content at one end of the display counts as clipped."""


@dataclass(frozen=True)
class Leaks:
    """Patients, studies and equal pixels in more than one split: all have to be 0."""

    patients: int
    studies: int
    pixels: int


def leaks(index: pa.Table) -> Leaks:
    """Count what stands in more than one split."""
    splits = codes_of(index["split"])
    owners = ("patient", "study", pixel_checksum(index))
    return Leaks(*(_in_several(codes_of(index[name]), splits) for name in owners))


def _in_several(owners: Codes, splits: Codes) -> int:
    """Owners that occur in more than one split; rows without an owner do not count."""
    pairs = np.unique(np.stack([owners, splits])[:, owners >= 0], axis=1)
    return int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())


def suspects(index: pa.Table) -> NDArray[np.int64]:
    """Rows of films that look as if black and white were exchanged."""
    return np.flatnonzero(np.asarray(pc.fill_null(index["polarity_suspect"], False)))


def fractions(index: pa.Table, name: str) -> NDArray[np.float64] | None:
    """[films] of a column of fractions, NaN where it is not known; None where the index has no such column."""
    if name not in index.column_names or index[name].null_count == index.num_rows:
        return None
    return np.asarray(pc.cast(index[name], pa.float64()).to_numpy(), np.float64)


def provenance_counts(index: pa.Table) -> list[tuple[str, int]]:
    """Step of decoding or display → films, the most frequent first."""
    counted: Iterable[dict[str, object]] = pc.value_counts(pc.list_flatten(index["provenance"])).to_pylist()
    found = [(str(row["values"]), int(str(row["counts"]))) for row in counted]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def split_table(index: pa.Table) -> list[tuple[str, int, int, int]]:
    """(split, films, patients, studies) of every split."""
    rows: list[tuple[str, int, int, int]] = []
    for split in SPLITS:
        films = index.filter(pc.equal(index["split"], split))
        patients, studies = (pc.count_distinct(films[name]).as_py() for name in ("patient", "study"))
        rows.append((split, films.num_rows, patients, studies))
    return rows


def spacings(index: pa.Table) -> NDArray[np.float64]:
    """[films] row spacing in mm, NaN where it is not known."""
    return np.asarray(pc.cast(pc.list_element(index["pixel_spacing_mm"], 0), pa.float64()).to_numpy(), np.float64)
