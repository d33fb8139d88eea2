"""Films that look alike: pairs of perceptual hashes that differ in few bits, found without comparing all with all.

Of two hashes that differ in at most BOUND bits, cut into BLOCKS blocks, at least BLOCKS - BOUND blocks agree. So for
every choice of that many blocks the hashes are sorted by these alone, and only neighbours that agree in them are
compared (Manku, Jain and Das Sarma, "Detecting near-duplicates for web crawling", WWW 2007, section 3).
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

BOUND = 4
"""Bits of 64 in which films that look alike may differ."""
BLOCKS = 7
MAX_PAIRS = 1_000_000
"""More are not listed: an archive with so many has films that are all alike, such as test pictures."""


@dataclass(frozen=True)
class HashPairs:
    """Pairs of rows.

    Attributes:
        first, second: [pairs] rows; of many films with one hash only neighbours in their given order.
        distance: [pairs] bits that differ.
        complete: whether all have been found; False beyond MAX_PAIRS.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.int64]
    complete: bool


def look_alikes(hashes: NDArray[np.uint64], order: NDArray[np.int64]) -> HashPairs:
    """Pairs of films whose hashes differ in at most BOUND bits.

    Args:
        hashes: [films] uint64.
        order: [films] a number, such as that of the patient, by which films of one hash are sorted before each is
            paired with its neighbour. So a hash that several patients share gives a pair across patients.
    """
    sequence = np.lexsort((order, hashes))
    ordered = hashes[sequence]
    same = np.flatnonzero(ordered[1:] == ordered[:-1])
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.zeros(0, np.int64)
    near, complete = _near(ordered[starts])
    first = np.concatenate([sequence[same], sequence[starts[near[:, 0]]]])
    second = np.concatenate([sequence[same + 1], sequence[starts[near[:, 1]]]])
    distance = np.bitwise_count(hashes[first] ^ hashes[second]).astype(np.int64)
    by_distance = np.argsort(distance, kind="stable")
    return HashPairs(first[by_distance], second[by_distance], distance[by_distance], complete)


def _near(distinct: NDArray[np.uint64]) -> tuple[NDArray[np.int64], bool]:
    """[pairs, 2] places of distinct hashes that differ in at most BOUND bits, and whether these are all."""
    found = np.zeros(0, np.int64)
    for blocks in combinations(range(BLOCKS), BLOCKS - BOUND):
        masked = distinct & np.uint64(_mask(blocks))
        order = np.argsort(masked, kind="stable")
        masked = masked[order]
        left = np.arange(len(order))
        for step in range(1, len(order)):
            left = left[left + step < len(order)]
            left = left[masked[left] == masked[left + step]]
            if not len(left):
                break
            one, other = order[left], order[left + step]
            alike = np.bitwise_count(distinct[one] ^ distinct[other]) <= BOUND
            pairs = np.minimum(one, other)[alike] * len(distinct) + np.maximum(one, other)[alike]
            found = np.union1d(found, pairs)
            if len(found) > MAX_PAIRS:
                return _split(found[:MAX_PAIRS], len(distinct)), False
    return _split(found, len(distinct)), True


def _split(pairs: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return np.stack([pairs // max(count, 1), pairs % max(count, 1)], axis=1)


def _mask(blocks: tuple[int, ...]) -> int:
    """The bits of these blocks."""
    edges = [64 * block // BLOCKS for block in range(BLOCKS + 1)]
    return sum(((1 << (edges[block + 1] - edges[block])) - 1) << edges[block] for block in blocks)
