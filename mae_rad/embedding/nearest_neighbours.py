"""Exact nearest neighbours by cosine, in blocks: the gallery is read once and may lie on disk.

After the first block nearly every similarity is below the k-th best so far, so one comparison per pair is what the
search costs beyond the matrix product.

Legend: Q queries, N films of the gallery.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mae_rad.embedding.standardised_rows import Standardised

_QUERIES = 2048
_GALLERY = 8192
"""Sides of one block of similarities (64 MB)."""
_NONE = -np.inf


class Neighbours(NamedTuple):
    """The nearest films, nearest first.

    Attributes:
        cosine: [Q, k] float32; -inf where fewer than k films may be neighbours.
        place: [Q, k] place in the gallery; -1 there.
    """

    cosine: NDArray[np.float32]
    place: NDArray[np.int64]


def nearest(
    gallery: Standardised,
    queries: Standardised,
    k: int,
    *,
    apart: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> Neighbours:
    """The ``k`` films of ``gallery`` with the largest cosine to each query; of equal ones any.

    Args:
        gallery: vectors of length one.
        queries: vectors of length one, all held in memory.
        k: at most the size of the gallery.
        apart: numbers [N] of the gallery's films and [Q] of the queries; films with the number of the query (itself,
            its patient, its study) are no neighbours of it.
    """
    asked = queries.array()
    k = min(k, len(gallery))
    cosine = np.full((len(asked), k), _NONE, dtype=np.float32)
    place = np.full((len(asked), k), -1, dtype=np.int64)
    for here, block in gallery.blocks():
        for start in range(0, len(block), _GALLERY):
            part = block[start : start + _GALLERY]
            first = here.start + start
            for low in range(0, len(asked), _QUERIES):
                who = slice(low, min(low + _QUERIES, len(asked)))
                numbers = None if apart is None else (apart[0][first : first + len(part)], apart[1][who])
                _merge(asked[who] @ part.T, first, numbers, cosine[who], place[who])
    order = np.lexsort((place, -cosine), axis=1)
    return Neighbours(np.take_along_axis(cosine, order, 1), np.take_along_axis(place, order, 1))


def _merge(
    similar: NDArray[np.float32],
    first: int,
    numbers: tuple[NDArray[np.int64], NDArray[np.int64]] | None,
    cosine: NDArray[np.float32],
    place: NDArray[np.int64],
) -> None:
    """Put what of ``similar`` [q, n] is above the worst of ``cosine`` [q, k] into it; ``place`` goes with it."""
    worst = cosine.min(axis=1, keepdims=True)
    if np.isneginf(worst).any():
        _merge_all(similar, first, numbers, cosine, place)
        return
    queries, columns = np.nonzero(similar > worst)
    if numbers is not None:
        allowed = numbers[0][columns] != numbers[1][queries]
        queries, columns = queries[allowed], columns[allowed]
    counts = np.bincount(queries, minlength=len(similar))
    who = np.flatnonzero(counts)
    if not len(who):
        return
    slot = np.arange(len(queries)) - np.repeat(np.cumsum(counts) - counts, counts)
    row = np.repeat(np.arange(len(who)), counts[who])
    found = np.full((len(who), int(counts.max())), _NONE, dtype=np.float32)
    where = np.full(found.shape, -1, dtype=np.int64)
    found[row, slot], where[row, slot] = similar[queries, columns], first + columns
    cosine[who], place[who] = _best(np.c_[cosine[who], found], np.c_[place[who], where], cosine.shape[1])


def _merge_all(
    similar: NDArray[np.float32],
    first: int,
    numbers: tuple[NDArray[np.int64], NDArray[np.int64]] | None,
    cosine: NDArray[np.float32],
    place: NDArray[np.int64],
) -> None:
    """The same where some query has fewer than k neighbours so far, so that anything may be among them."""
    if numbers is not None:
        similar = np.where(numbers[0] == numbers[1][:, None], _NONE, similar).astype(np.float32)
    where = np.broadcast_to(np.arange(first, first + similar.shape[1]), similar.shape)
    if similar.shape[1] > cosine.shape[1]:
        similar, where = _best(similar, where, cosine.shape[1])
    where = np.where(np.isneginf(similar), -1, where)
    cosine[:], place[:] = _best(np.c_[cosine, similar], np.c_[place, where], cosine.shape[1])


def _best(
    cosine: NDArray[np.float32], place: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    best = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
    return np.take_along_axis(cosine, best, 1), np.take_along_axis(place, best, 1)
