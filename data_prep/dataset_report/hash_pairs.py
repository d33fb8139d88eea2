"""Find pairs of perceptual hashes that differ in few bits, without comparing all pairs.

If two hashes of BLOCKS blocks differ in at most MAX_DISTANCE bits, at least BLOCKS - MAX_DISTANCE blocks are equal. For
every combination of that many blocks the hashes are sorted by these blocks, and only neighbours with equal blocks are
compared (Manku, Jain and Das Sarma, "Detecting near-duplicates for web crawling", WWW 2007, section 3).
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

MAX_DISTANCE = 4
"""Largest number of differing bits, of 64, of near duplicates."""
BLOCKS = 7
MAX_PAIRS = 1_000_000
"""Further pairs are not listed; so many occur only where most films are near duplicates, such as test pictures."""


@dataclass(frozen=True)
class HashPairs:
    """Pairs of rows, sorted by distance.

    Attributes:
        first: [pairs] row of the first film. Films with equal hashes are paired with their neighbours only.
        second: [pairs] row of the second film.
        distance: [pairs] number of differing bits.
        complete: whether all pairs are listed; False beyond MAX_PAIRS.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.int64]
    complete: bool


def find_hash_pairs(hashes: NDArray[np.uint64], order: NDArray[np.int64]) -> HashPairs:
    """Find pairs of films whose hashes differ in at most MAX_DISTANCE bits.

    Args:
        hashes: [films] uint64.
        order: [films] number by which films with equal hashes are sorted before each is paired with its neighbour. With
            the number of the patient, a hash of several patients gives a pair of different patients.
    """
    sequence = np.lexsort((order, hashes))
    ordered = hashes[sequence]
    equal = np.flatnonzero(ordered[1:] == ordered[:-1])
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.zeros(0, np.int64)
    near, complete = _near_pairs(ordered[starts])
    first = np.concatenate([sequence[equal], sequence[starts[near[:, 0]]]])
    second = np.concatenate([sequence[equal + 1], sequence[starts[near[:, 1]]]])
    distance = np.bitwise_count(hashes[first] ^ hashes[second]).astype(np.int64)
    by_distance = np.argsort(distance, kind="stable")
    return HashPairs(first[by_distance], second[by_distance], distance[by_distance], complete)


def _near_pairs(distinct: NDArray[np.uint64]) -> tuple[NDArray[np.int64], bool]:
    """[pairs, 2] positions of distinct hashes that differ in at most MAX_DISTANCE bits, and whether these are all."""
    pairs = np.zeros(0, np.int64)  # first * len(distinct) + second
    for blocks in combinations(range(BLOCKS), BLOCKS - MAX_DISTANCE):
        masked = distinct & np.uint64(_mask(blocks))
        order = np.argsort(masked, kind="stable")
        masked = masked[order]
        left = np.arange(len(order))
        for step in range(1, len(order)):
            left = left[left + step < len(order)]
            left = left[masked[left] == masked[left + step]]
            if not len(left):
                break
            first, second = order[left], order[left + step]
            is_near = np.bitwise_count(distinct[first] ^ distinct[second]) <= MAX_DISTANCE
            new_pairs = np.minimum(first, second)[is_near] * len(distinct) + np.maximum(first, second)[is_near]
            pairs = np.union1d(pairs, new_pairs)
            if len(pairs) > MAX_PAIRS:
                return _unravel(pairs[:MAX_PAIRS], len(distinct)), False
    return _unravel(pairs, len(distinct)), True


def _unravel(pairs: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return np.stack([pairs // max(count, 1), pairs % max(count, 1)], axis=1)


def _mask(blocks: tuple[int, ...]) -> int:
    """Bit mask of these blocks."""
    edges = [64 * block // BLOCKS for block in range(BLOCKS + 1)]
    return sum(((1 << (edges[block + 1] - edges[block])) - 1) << edges[block] for block in blocks)
