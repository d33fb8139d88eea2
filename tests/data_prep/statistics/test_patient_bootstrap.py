"""Bootstrap over patients: equal to a loop, films of a patient together, no interval where too few are defined."""

import numpy as np
import pytest

from data_prep.statistics import patient_bootstrap
from data_prep.statistics.patient_bootstrap import LEVEL, percentile_interval, resamples, select_defined_samples


@pytest.mark.parametrize("block", [1, 70, 4_000_000])
def test_draws_equal_those_of_a_loop_for_every_block_size(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of an earlier comparison or table of readers come again from their seed."""
    monkeypatch.setattr(patient_bootstrap, "_BLOCK_WEIGHTS", block)
    patients = np.array([7, 3, 3, 9, 7, 7, 20])
    found = np.concatenate(list(resamples(patients, repetitions=25, seed=11)))
    random, names = np.random.default_rng(11), [3, 7, 9, 20]
    for row in found:
        drawn = [names[place] for place in random.integers(4, size=4)]
        assert row.tolist() == [drawn.count(patient) for patient in patients]


def test_all_films_of_a_patient_are_drawn_together() -> None:
    patients = np.repeat(np.arange(10), np.arange(1, 11))
    found = np.concatenate(list(resamples(patients, repetitions=200, seed=0)))
    assert found.shape == (200, 55)
    first = np.unique(patients, return_index=True)[1]
    assert (found[:, first].sum(axis=1) == 10).all()
    assert (found == found[:, first][:, patients]).all()


def test_no_interval_if_most_resamples_lack_a_class() -> None:
    samples = np.r_[np.full(30, np.nan), np.linspace(0, 1, 70)]
    assert np.isnan(percentile_interval(samples)).all()
    assert not len(select_defined_samples(samples))
    low, high = percentile_interval(samples[25:])  # a few lost resamples do not matter
    assert (low, high) == pytest.approx(tuple(np.quantile(samples[30:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])))
