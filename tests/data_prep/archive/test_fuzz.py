"""A small part of tests/benchmarks/sharding/fuzz.py: every mutated film is a film or has a reject reason."""

from pathlib import Path

import pytest

from tests.benchmarks.sharding.fuzz import base_films, mutate, shard_mutations


def test_mutations_are_distinct_and_reproducible(tmp_path: Path) -> None:
    films = base_films(tmp_path)
    assert len(films) == len(set(films)) == 10
    made = [mutate(number, films, seed=0) for number in range(300)]
    assert len(set(made)) == 300 and made == [mutate(number, films, seed=0) for number in range(300)]
    assert not set(made) & set(films)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_mutated_films_are_all_accounted_for(seed: int, tmp_path: Path) -> None:
    card, _ = shard_mutations(tmp_path, 150, seed, seconds=120)
    assert card.files.written > 15 and len(card.reasons) >= 4


@pytest.mark.slow
def test_one_and_two_workers_write_the_same_despite_crashes(tmp_path: Path) -> None:
    """Film 453 of seed 5 stops its decoder with a floating point exception."""
    cards = [shard_mutations(tmp_path / f"{number}", 500, 5, seconds=300, workers=number)[0] for number in (1, 2)]
    assert cards[0].dataset_sha256 == cards[1].dataset_sha256
    assert cards[0].quarantined == cards[1].quarantined
