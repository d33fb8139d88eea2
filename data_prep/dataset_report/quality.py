"""Statistics of the quality columns of the index, and leaks between splits."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.dataset_report.census import Codes, encode_column
from data_prep.dataset_report.near_duplicates import pixel_checksum_column
from data_prep.shard_format.sidecar import SPLITS

MAX_CLIPPED_FRACTION = 0.05
"""A film with a larger fraction of its content at one end of the display counts as clipped."""


@dataclass(frozen=True)
class SplitLeaks:
    """Number of patients, studies and equal pixels in more than one split; all have to be 0."""

    patients: int
    studies: int
    pixels: int


def count_leaks(index: pa.Table) -> SplitLeaks:
    """Count patients, studies and equal pixels in more than one split."""
    splits = encode_column(index["split"])
    columns = ("patient", "study", pixel_checksum_column(index))
    return SplitLeaks(*(_count_in_several_splits(encode_column(index[name]), splits) for name in columns))


def _count_in_several_splits(values: Codes, splits: Codes) -> int:
    """Count the values that occur in more than one split; rows without a value are ignored."""
    pairs = np.unique(np.stack([values, splits])[:, values >= 0], axis=1)
    return int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())


def find_suspect_polarity(index: pa.Table) -> NDArray[np.int64]:
    """List the rows of films whose grey values may be inverted."""
    return np.flatnonzero(np.asarray(pc.fill_null(index["polarity_suspect"], False)))


def read_fractions(index: pa.Table, name: str) -> NDArray[np.float64] | None:
    """Read a column of fractions.

    Args:
        index: rows of the index.
        name: column.

    Returns:
        [films] 0 to 1, NaN for null; None if the column is absent or has no value.
    """
    if name not in index.column_names or index[name].null_count == index.num_rows:
        return None
    return np.asarray(pc.cast(index[name], pa.float64()).to_numpy(), np.float64)


def count_provenance(index: pa.Table) -> list[tuple[str, int]]:
    """List steps of decoding or display with their number of films, the most frequent first."""
    values: Iterable[dict[str, object]] = pc.value_counts(pc.list_flatten(index["provenance"])).to_pylist()
    counts = [(str(row["values"]), int(str(row["counts"]))) for row in values]
    return sorted(counts, key=lambda pair: (-pair[1], pair[0]))


def count_splits(index: pa.Table) -> list[tuple[str, int, int, int]]:
    """Count (split, films, patients, studies) for every split."""
    rows: list[tuple[str, int, int, int]] = []
    for split in SPLITS:
        films = index.filter(pc.equal(index["split"], split))
        patients, studies = (pc.count_distinct(films[name]).as_py() for name in ("patient", "study"))
        rows.append((split, films.num_rows, patients, studies))
    return rows


def read_row_spacings(index: pa.Table) -> NDArray[np.float64]:
    """Read the row spacing of each film: [films] in mm, NaN if not known."""
    return np.asarray(pc.cast(pc.list_element(index["pixel_spacing_mm"], 0), pa.float64()).to_numpy(), np.float64)
