"""Search exact nearest neighbours by cosine, block by block; the gallery is read once and may be memory-mapped.

After the first block nearly every similarity is below the k-th best so far, so the search costs one comparison per pair
besides the matrix product.

Legend: Q queries, N films of the gallery.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mae_rad.embedding.standardised_rows import Standardised

_QUERY_BLOCK = 2048
_GALLERY_BLOCK = 8192
"""Queries and gallery films of one block of similarities (64 MB)."""
_NO_NEIGHBOUR = -np.inf


class Neighbours(NamedTuple):
    """The nearest films, nearest first.

    Attributes:
        cosine: [Q, k] float32 in [-1, 1]; -inf where fewer than k films are allowed.
        place: [Q, k] position in the gallery; -1 where fewer than k films are allowed.
    """

    cosine: NDArray[np.float32]
    place: NDArray[np.int64]


def find_neighbours(
    gallery: Standardised,
    queries: Standardised,
    k: int,
    *,
    apart: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> Neighbours:
    """Find the ``k`` films of ``gallery`` with the largest cosine to each query; ties are broken arbitrarily.

    Args:
        gallery: [N, D] vectors of length one.
        queries: [Q, D] vectors of length one, all loaded into memory.
        k: number of neighbours, at most N.
        apart: groups [N] of the gallery's films and [Q] of the queries; films of the group of a query (the film itself,
            its patient, its study) are excluded from its neighbours.
    """
    query_vectors = queries.array()
    k = min(k, len(gallery))
    cosine = np.full((len(query_vectors), k), _NO_NEIGHBOUR, dtype=np.float32)
    place = np.full((len(query_vectors), k), -1, dtype=np.int64)
    for positions, block in gallery.blocks():
        for start in range(0, len(block), _GALLERY_BLOCK):
            part = block[start : start + _GALLERY_BLOCK]
            first = positions.start + start
            for low in range(0, len(query_vectors), _QUERY_BLOCK):
                block_queries = slice(low, min(low + _QUERY_BLOCK, len(query_vectors)))
                groups = None if apart is None else (apart[0][first : first + len(part)], apart[1][block_queries])
                _merge(
                    query_vectors[block_queries] @ part.T, first, groups, cosine[block_queries], place[block_queries]
                )
    order = np.lexsort((place, -cosine), axis=1)
    return Neighbours(np.take_along_axis(cosine, order, 1), np.take_along_axis(place, order, 1))


def _merge(
    similar: NDArray[np.float32],
    first: int,
    groups: tuple[NDArray[np.int64], NDArray[np.int64]] | None,
    cosine: NDArray[np.float32],
    place: NDArray[np.int64],
) -> None:
    """Merge the similarities ``similar`` [q, n] into the best so far, ``cosine`` and ``place`` [q, k], in place."""
    worst = cosine.min(axis=1, keepdims=True)
    if np.isneginf(worst).any():
        _merge_all(similar, first, groups, cosine, place)
        return
    queries, columns = np.nonzero(similar > worst)
    if groups is not None:
        allowed = groups[0][columns] != groups[1][queries]
        queries, columns = queries[allowed], columns[allowed]
    counts = np.bincount(queries, minlength=len(similar))
    chosen = np.flatnonzero(counts)
    if not len(chosen):
        return
    slot = np.arange(len(queries)) - np.repeat(np.cumsum(counts) - counts, counts)
    row = np.repeat(np.arange(len(chosen)), counts[chosen])
    candidates = np.full((len(chosen), int(counts.max())), _NO_NEIGHBOUR, dtype=np.float32)
    candidate_places = np.full(candidates.shape, -1, dtype=np.int64)
    candidates[row, slot], candidate_places[row, slot] = similar[queries, columns], first + columns
    cosine[chosen], place[chosen] = _best(
        np.c_[cosine[chosen], candidates], np.c_[place[chosen], candidate_places], cosine.shape[1]
    )


def _merge_all(
    similar: NDArray[np.float32],
    first: int,
    groups: tuple[NDArray[np.int64], NDArray[np.int64]] | None,
    cosine: NDArray[np.float32],
    place: NDArray[np.int64],
) -> None:
    """Do the same if a query has fewer than k neighbours so far, so that no similarity can be left out."""
    if groups is not None:
        similar = np.where(groups[0] == groups[1][:, None], _NO_NEIGHBOUR, similar).astype(np.float32)
    candidate_places = np.broadcast_to(np.arange(first, first + similar.shape[1]), similar.shape)
    if similar.shape[1] > cosine.shape[1]:
        similar, candidate_places = _best(similar, candidate_places, cosine.shape[1])
    candidate_places = np.where(np.isneginf(similar), -1, candidate_places)
    cosine[:], place[:] = _best(np.c_[cosine, similar], np.c_[place, candidate_places], cosine.shape[1])


def _best(
    cosine: NDArray[np.float32], place: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    best = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
    return np.take_along_axis(cosine, best, 1), np.take_along_axis(place, best, 1)
