"""Near duplicates: candidate pairs by perceptual hash, the closest of them compared by their fine detail.

Hashes of 64 bits agree for many films of one body part: a million films have millions of candidate pairs. The
correlation of fine detail separates copies of one picture from similar films.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.dataset_report.census import encode_column
from data_prep.dataset_report.hash_pairs import find_hash_pairs
from data_prep.folder_url import PublicFolder
from data_prep.pages.film_thumbnail import read_displayed_film

HASH = "perceptual_hash"
"""Column of the index; a folder of an earlier release lacks it."""
ACROSS_SPLITS, ACROSS_PATIENTS, ONE_PATIENT = "in two splits", "of two patients", "of one patient"
KINDS = (ACROSS_SPLITS, ACROSS_PATIENTS, ONE_PATIENT)
"""Kinds of pairs, the most serious first."""
MAX_COMPARED_PAIRS = 300
"""Candidates whose pictures are compared."""
SAME_PICTURE_CORRELATION = 0.9
"""Correlation of fine detail from which two films count as the same picture. All of 300 films that were scaled down or
compressed again are above it. Rotated or cropped copies have 0.7 to 0.9, different films of one body part up to 0.87:
a person has to review these."""
MAX_ONE_PATIENT_PAIRS = 4
"""Pairs of one patient on the page, which are harmless."""
_SIDE, _BLUR_SIGMA = 96, 6.0
"""Pixels."""


@dataclass(frozen=True)
class NearDuplicatePair:
    """Two films with near hashes or equal pixels.

    Attributes:
        rows: rows of the index.
        kind: one of KINDS.
        likeness: correlation of their fine detail, -1 to 1; None if the pixels are equal.
    """

    rows: tuple[int, int]
    kind: str
    likeness: float | None = None

    @property
    def is_same_picture(self) -> bool:
        """Whether the films count as copies of one picture."""
        return self.likeness is None or self.likeness >= SAME_PICTURE_CORRELATION


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of all films of an index.

    Attributes:
        counts: kind → number of candidate pairs.
        films: number of films in at least one pair.
        pairs: compared pairs, the most serious kind and the largest likeness first.
        complete: whether all candidate pairs are counted.
    """

    counts: Mapping[str, int]
    films: int
    pairs: list[NearDuplicatePair]
    complete: bool = True

    def count_same_pictures(self, kind: str) -> int:
        """Count the compared pairs of a kind that are one picture."""
        return sum(pair.is_same_picture for pair in self.pairs if pair.kind == kind)

    def select_pairs(self, limit: int) -> list[NearDuplicatePair]:
        """Select at most ``limit`` pairs for a page, with at most MAX_ONE_PATIENT_PAIRS of one patient."""
        serious = [pair for pair in self.pairs if pair.kind != ONE_PATIENT]
        harmless = [pair for pair in self.pairs if pair.kind == ONE_PATIENT]
        return (serious + harmless[:MAX_ONE_PATIENT_PAIRS])[:limit]


def find_near_duplicates(public: PublicFolder, index: pa.Table) -> NearDuplicates | None:
    """Find candidate pairs by perceptual hash, and compare the closest by their pictures.

    Args:
        public: public folder.
        index: rows of its index.

    Returns:
        Pairs; None if the index has no hashes.

    Raises:
        OSError, ValueError: a shard cannot be read.
    """
    if HASH not in index.column_names or (index.num_rows and index[HASH].null_count == index.num_rows):
        return None
    rows = np.flatnonzero(np.asarray(pc.is_valid(index[HASH])))
    hashes = np.asarray(index[HASH].drop_null().to_numpy(), np.uint64)
    hash_pairs = find_hash_pairs(hashes, encode_column(index["patient"])[rows])  # sorted by distance
    first, second = rows[hash_pairs.first], rows[hash_pairs.second]
    kind = _kinds(index, first, second)
    closest = np.argsort(kind, kind="stable")[:MAX_COMPARED_PAIRS]
    pairs = [(int(first[position]), int(second[position])) for position in closest]
    details = _fine_details(public, index, sorted({row for pair in pairs for row in pair}))
    compared = [
        NearDuplicatePair(pair, KINDS[kind[position]], _correlation(details[pair[0]], details[pair[1]]))
        for position, pair in zip(closest, pairs, strict=True)
    ]
    compared.sort(key=lambda pair: (KINDS.index(pair.kind), -(pair.likeness or 0)))
    return NearDuplicates(_counts(kind), _film_count(first, second), compared, hash_pairs.complete)


def find_equal_pixels(index: pa.Table) -> NearDuplicates:
    """Find films of different patients with equal pixels; of several films, neighbours are paired."""
    pixels, patients = encode_column(index[pixel_checksum_column(index)]), encode_column(index["patient"])
    order = np.lexsort((patients, pixels))
    is_pair = (pixels[order][1:] == pixels[order][:-1]) & (patients[order][1:] != patients[order][:-1])
    first, second = order[:-1][is_pair], order[1:][is_pair]
    kind = _kinds(index, first, second)
    pairs = [
        NearDuplicatePair((int(first[position]), int(second[position])), KINDS[kind[position]])
        for position in np.argsort(kind, kind="stable")[:MAX_COMPARED_PAIRS]
    ]
    return NearDuplicates(_counts(kind), _film_count(first, second), pairs)


def pixel_checksum_column(index: pa.Table) -> str:
    """Name of the column with the checksum of the pixels, which names its algorithm."""
    return str(next(name for name in index.column_names if name.startswith("pixel_") and "spacing" not in name))


def _kinds(index: pa.Table, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """[pairs] position in KINDS of each pair."""
    patients, splits = encode_column(index["patient"]), encode_column(index["split"])
    within_split = np.where(patients[first] != patients[second], 1, 2)
    return np.where(splits[first] != splits[second], 0, within_split)


def _counts(kind: NDArray[np.int64]) -> dict[str, int]:
    return {name: int((kind == number).sum()) for number, name in enumerate(KINDS)}


def _film_count(first: NDArray[np.int64], second: NDArray[np.int64]) -> int:
    return len(np.unique(np.concatenate([first, second])))


def _fine_details(public: PublicFolder, index: pa.Table, rows: list[int]) -> dict[int, NDArray[np.float64]]:
    """Row → high-pass image of its film, [_SIDE, _SIDE]."""
    details = {}
    for row, fields in zip(rows, index.take(pa.array(rows, pa.int64())).to_pylist(), strict=True):
        displayed, _ = read_displayed_film(public, fields, 2 * _SIDE)
        small = cv2.resize(displayed, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float64)
        details[row] = np.asarray(small - cv2.GaussianBlur(small, (0, 0), _BLUR_SIGMA), np.float64)
    return details


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Pearson correlation, -1 to 1; for constant images 1 if they are equal, else 0."""
    deviation = float(first.std() * second.std())
    if not deviation:
        return float((first == second).all())
    return float(((first - first.mean()) * (second - second.mean())).mean() / deviation)
