"""Films that look alike: candidates by perceptual hash, compared by their pictures, the most serious first.

A hash of 64 bits takes many films of one body part for alike: among a million there are millions of such pairs. So the
closest candidates are looked at, and those whose fine detail agrees are told apart from the merely alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.dataset_report.census import codes_of
from data_prep.dataset_report.hash_pairs import look_alikes
from data_prep.pages.film_thumbnail import read_displayed_film

HASH = "perceptual_hash"
"""Column of the index; a folder of an earlier release lacks it."""
ACROSS_SPLITS, ACROSS_PATIENTS, ONE_PATIENT = "in two splits", "of two patients", "of one patient"
KINDS = (ACROSS_SPLITS, ACROSS_PATIENTS, ONE_PATIENT)
"""The most serious first."""
COMPARED = 300
"""Candidates whose pictures are compared."""
SAME = 0.9
"""Correlation of fine detail from which two pictures count as the same. Of 300 films that were scaled down or
compressed again all are above. Copies that were turned or cropped agree by 0.7 to 0.9, different films of one body part
by up to 0.87: these are left to the eye."""
OF_ONE_PATIENT = 4
"""Pairs of one patient that are shown, at most: they are no trouble."""
_SIDE, _BLUR = 96, 6.0


@dataclass(frozen=True)
class NearDuplicatePair:
    """Two films that look alike.

    Attributes:
        rows: of the index.
        kind: one of KINDS.
        likeness: correlation of their fine detail; None where the pixels are equal.
    """

    rows: tuple[int, int]
    kind: str
    likeness: float | None = None

    @property
    def same(self) -> bool:
        """Whether they are one picture, for all that can be seen."""
        return self.likeness is None or self.likeness >= SAME


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of a whole index.

    Attributes:
        counts: kind → candidates.
        films: films in a pair.
        pairs: those that were compared, the most serious and most alike first.
        complete: whether all candidates have been counted.
    """

    counts: Mapping[str, int]
    films: int
    pairs: list[NearDuplicatePair]
    complete: bool = True

    def same(self, kind: str) -> int:
        """How many of the compared pairs of a kind are one picture."""
        return sum(pair.same for pair in self.pairs if pair.kind == kind)

    def shown(self, most: int) -> list[NearDuplicatePair]:
        """Pairs for a page."""
        serious = [pair for pair in self.pairs if pair.kind != ONE_PATIENT]
        return (serious + [pair for pair in self.pairs if pair.kind == ONE_PATIENT][:OF_ONE_PATIENT])[:most]


def near_pairs(public: Path, index: pa.Table) -> NearDuplicates | None:
    """Candidates by perceptual hash, the closest of them compared; None where the index has no hashes.

    Raises:
        OSError, ValueError: a shard cannot be read.
    """
    if HASH not in index.column_names:
        return None
    rows = np.flatnonzero(np.asarray(pc.is_valid(index[HASH])))
    hashes = np.asarray(index[HASH].drop_null().to_numpy(), np.uint64)
    found = look_alikes(hashes, codes_of(index["patient"])[rows])  # by distance
    first, second = rows[found.first], rows[found.second]
    kind = _kinds(index, first, second)
    closest = np.argsort(kind, kind="stable")[:COMPARED]
    pairs = [(int(first[place]), int(second[place])) for place in closest]
    details = _details(public, index, sorted({row for pair in pairs for row in pair}))
    compared = [
        NearDuplicatePair(pair, KINDS[kind[place]], _correlation(details[pair[0]], details[pair[1]]))
        for place, pair in zip(closest, pairs, strict=True)
    ]
    compared.sort(key=lambda pair: (KINDS.index(pair.kind), -(pair.likeness or 0)))
    return NearDuplicates(_counts(kind), _films(first, second), compared, found.complete)


def equal_pixels(index: pa.Table) -> NearDuplicates:
    """Pairs of films of different patients whose pixels in the shards are the same, each film with its neighbour."""
    pixels, patients = codes_of(index[pixel_checksum(index)]), codes_of(index["patient"])
    order = np.lexsort((patients, pixels))
    same = (pixels[order][1:] == pixels[order][:-1]) & (patients[order][1:] != patients[order][:-1])
    first, second = order[:-1][same], order[1:][same]
    kind = _kinds(index, first, second)
    chosen = np.argsort(kind, kind="stable")[:COMPARED]
    pairs = [NearDuplicatePair((int(first[place]), int(second[place])), KINDS[kind[place]]) for place in chosen]
    return NearDuplicates(_counts(kind), _films(first, second), pairs)


def pixel_checksum(index: pa.Table) -> str:
    """The column with the checksum of the pixels, whose name tells the algorithm."""
    return str(next(name for name in index.column_names if name.startswith("pixel_") and "spacing" not in name))


def _kinds(index: pa.Table, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    patients, splits = codes_of(index["patient"]), codes_of(index["split"])
    across = np.where(patients[first] != patients[second], 1, 2)
    return np.where(splits[first] != splits[second], 0, across)


def _counts(kind: NDArray[np.int64]) -> dict[str, int]:
    return {name: int((kind == number).sum()) for number, name in enumerate(KINDS)}


def _films(first: NDArray[np.int64], second: NDArray[np.int64]) -> int:
    return len(np.unique(np.concatenate([first, second])))


def _details(public: Path, index: pa.Table, rows: list[int]) -> dict[int, NDArray[np.float64]]:
    """Row → fine detail of its film, [_SIDE, _SIDE]: what a blur takes away."""
    details = {}
    for row, told in zip(rows, index.take(pa.array(rows, pa.int64())).to_pylist(), strict=True):
        shown, _ = read_displayed_film(public, told, 2 * _SIDE)
        small = cv2.resize(shown, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float64)
        details[row] = np.asarray(small - cv2.GaussianBlur(small, (0, 0), _BLUR), np.float64)
    return details


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """From -1 to 1; films without any detail are as alike as can be where they are equal, else not at all."""
    spread = float(one.std() * other.std())
    return (
        float(((one - one.mean()) * (other - other.mean())).mean() / spread) if spread else float((one == other).all())
    )
