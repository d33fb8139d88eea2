"""What the columns of the index say of quality, and whether the splits leak."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.census import Codes, codes_of
from data_prep.near_duplicates import look_alikes
from data_prep.shard_format import SPLITS

CLIPPED = 0.05
"""A film with a larger part of its content at one end of the display counts as clipped."""


@dataclass(frozen=True)
class Pair:
    """Two films that look alike.

    Attributes:
        rows: of the index.
        where: across splits, across patients, or of one patient.
        distance: bits of the perceptual hash that differ; None where the pixels are equal.
    """

    rows: tuple[int, int]
    where: str
    distance: int | None


OF_ONE_PATIENT = 4
"""Pairs of one patient that are shown, at most: they are no trouble."""
ACROSS_SPLITS, ACROSS_PATIENTS, ONE_PATIENT = "in two splits", "of two patients", "of one patient"


@dataclass(frozen=True)
class LookAlikePairs:
    """Pairs of the whole index, counted, and some of each kind to show.

    Attributes:
        counts: kind of pair → pairs.
        films: films in a pair.
        shown: pairs to show, the most serious first.
        complete: whether all have been counted.
    """

    counts: dict[str, int]
    films: int
    shown: list[Pair]
    complete: bool = True


@dataclass(frozen=True)
class Leaks:
    """Patients, studies and equal pixels in more than one split: all have to be 0."""

    patients: int
    studies: int
    pixels: int


def leaks(index: pa.Table) -> Leaks:
    """Count what stands in more than one split."""
    splits = codes_of(index["split"])
    found = {name: _in_several(codes_of(index[name]), splits) for name in ("patient", "study", "pixel_sha256")}
    return Leaks(found["patient"], found["study"], found["pixel_sha256"])


def _in_several(owners: Codes, splits: Codes) -> int:
    """Owners that occur in more than one split; rows without an owner do not count."""
    pairs = np.unique(np.stack([owners, splits])[:, owners >= 0], axis=1)
    return int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())


def near_pairs(index: pa.Table, shown: int) -> LookAlikePairs | None:
    """Pairs by perceptual hash, ``shown`` of them at most to show; None where the index has no hashes."""
    if "phash" not in index.column_names:
        return None
    rows = np.flatnonzero(np.asarray(pc.is_valid(index["phash"])))
    hashes = np.asarray(index["phash"].drop_null().to_numpy(), np.uint64)
    patients = codes_of(index["patient"])
    found = look_alikes(hashes, patients[rows])
    pairs = zip(rows[found.first].tolist(), rows[found.second].tolist(), found.distance.tolist(), strict=True)
    return _sorted_pairs(index, list(pairs), shown, found.complete)


def equal_pixels(index: pa.Table, shown: int) -> LookAlikePairs:
    """Pairs of films of different patients whose stored pixels are the same, each with its neighbour."""
    pixels, patients = codes_of(index["pixel_sha256"]), codes_of(index["patient"])
    order = np.lexsort((patients, pixels))
    same = (pixels[order][1:] == pixels[order][:-1]) & (patients[order][1:] != patients[order][:-1])
    first, second = order[:-1][same], order[1:][same]
    return _sorted_pairs(
        index, [(one, other, None) for one, other in zip(first.tolist(), second.tolist(), strict=True)], shown
    )


def _sorted_pairs(
    index: pa.Table, pairs: list[tuple[int, int, int | None]], shown: int, complete: bool = True
) -> LookAlikePairs:
    patients, splits = codes_of(index["patient"]), codes_of(index["split"])
    first, second = (np.array([pair[place] for pair in pairs], np.int64) for place in (0, 1))
    kind = np.where(splits[first] != splits[second], 0, np.where(patients[first] != patients[second], 1, 2))
    kinds = (ACROSS_SPLITS, ACROSS_PATIENTS, ONE_PATIENT)
    chosen = np.argsort(kind, kind="stable")
    chosen = np.concatenate([chosen[kind[chosen] < 2], chosen[kind[chosen] == 2][:OF_ONE_PATIENT]])[:shown]
    return LookAlikePairs(
        counts={name: int((kind == number).sum()) for number, name in enumerate(kinds)},
        films=len(np.unique(np.concatenate([first, second]))),
        shown=[
            Pair((pairs[place][0], pairs[place][1]), kinds[kind[place]], pairs[place][2]) for place in chosen.tolist()
        ],
        complete=complete,
    )


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
