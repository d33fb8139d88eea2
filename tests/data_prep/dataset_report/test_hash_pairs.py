"""Hash pairs: the same as by comparing all pairs, and found fast where many films have equal hashes."""

import numpy as np
import pytest

from data_prep.dataset_report import hash_pairs
from data_prep.dataset_report.hash_pairs import MAX_DISTANCE, find_hash_pairs


def flipped(hashes: np.ndarray, bits: int, draw: np.random.Generator) -> np.ndarray:  # type: ignore[type-arg]
    """Invert ``bits`` random bits of each hash."""
    changed = hashes.copy()
    for place in range(len(hashes)):
        for bit in draw.choice(64, bits, replace=False):
            changed[place] ^= np.uint64(1) << np.uint64(bit)
    return changed


@pytest.mark.parametrize("seed", range(3))
def test_the_pairs_are_those_of_comparing_all_pairs(seed: int) -> None:
    draw = np.random.default_rng(seed)
    base = draw.integers(0, 2**64, 120, dtype=np.uint64)
    hashes = np.concatenate([base, *(flipped(base[:40], bits, draw) for bits in range(1, MAX_DISTANCE + 3))])
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    expected = {(one, two) for one, two in np.argwhere(distances <= MAX_DISTANCE).tolist() if one < two}
    found = find_hash_pairs(hashes, np.arange(len(hashes)))
    pairs = {tuple(sorted(pair)) for pair in zip(found.first.tolist(), found.second.tolist(), strict=True)}
    assert len(expected) > 100 and pairs == expected
    assert found.complete and (np.diff(found.distance) >= 0).all()


def test_films_with_equal_hashes_are_paired_across_patients() -> None:
    hashes = np.full(6, 77, np.uint64)
    patients = np.array([1, 0, 1, 0, 0, 2])
    found = find_hash_pairs(hashes, patients)
    assert len(found.first) == 5
    across = patients[found.first] != patients[found.second]
    assert across.sum() == 2  # 0 and 1, 1 and 2


def test_a_hundred_thousand_equal_films_are_paired_with_their_neighbours() -> None:
    found = find_hash_pairs(np.zeros(100_000, np.uint64), np.zeros(100_000, np.int64))
    assert len(found.first) == 99_999 and found.complete


def test_more_than_the_largest_number_of_pairs_is_reported_as_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_pairs, "MAX_PAIRS", 50)
    found = find_hash_pairs(np.arange(8, dtype=np.uint64), np.arange(8))
    assert found.complete and len(found.first) == 28
    found = find_hash_pairs(np.arange(16, dtype=np.uint64), np.arange(16))
    assert not found.complete and len(found.first) == 50


@pytest.mark.parametrize("count", [0, 1])
def test_few_films_have_no_pairs(count: int) -> None:
    assert len(find_hash_pairs(np.zeros(count, np.uint64), np.zeros(count, np.int64)).first) == 0
