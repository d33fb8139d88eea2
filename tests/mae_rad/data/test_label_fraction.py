"""A label fraction selects patients, and smaller fractions are subsets of larger ones."""

from itertools import pairwise

import numpy as np
import pytest

from mae_rad.data.label_fraction import select_label_fraction

PATIENTS = [f"patient {i // 3}" for i in range(300)]


@pytest.mark.parametrize("seed", range(5))
def test_a_smaller_fraction_lies_in_a_larger_one(seed: int) -> None:
    fractions = [0.01, 0.03, 0.1, 0.5, 0.99, 1.0]
    parts = [select_label_fraction(PATIENTS, fraction, seed) for fraction in fractions]
    for smaller, larger in pairwise(parts):
        assert not (smaller & ~larger).any()
    assert parts[-1].all()
    assert [part.sum() for part in parts] == [3, 9, 30, 150, 297, 300]


def test_a_patient_comes_with_all_films() -> None:
    chosen = select_label_fraction(PATIENTS, 0.25, 0).reshape(-1, 3)
    assert (chosen.all(axis=1) | ~chosen.any(axis=1)).all()


def test_the_part_depends_on_the_seed_and_not_on_the_order_of_films() -> None:
    first = select_label_fraction(PATIENTS, 0.2, 0)
    assert np.array_equal(first, select_label_fraction(PATIENTS[::-1], 0.2, 0)[::-1])
    assert not np.array_equal(first, select_label_fraction(PATIENTS, 0.2, 1))


def test_patients_stay_in_when_others_come_or_go() -> None:
    fewer = [patient for patient in PATIENTS if patient != "patient 7"]
    before = {patient for patient, here in zip(PATIENTS, select_label_fraction(PATIENTS, 0.5, 0), strict=True) if here}
    after = {patient for patient, here in zip(fewer, select_label_fraction(fewer, 0.5, 0), strict=True) if here}
    assert len(before ^ after) <= 2


def test_every_class_has_a_patient_first_and_fractions_stay_nested() -> None:
    classes = np.array([int(patient in {"patient 3", "patient 90"}) for patient in PATIENTS])
    for draw in range(10):
        parts = [
            select_label_fraction(PATIENTS, fraction, 0, draw=draw, classes=classes)
            for fraction in (0.01, 0.02, 0.1, 0.5)
        ]
        for smaller, larger in pairwise(parts):
            assert not (smaller & ~larger).any()
        assert all(set(classes[part]) == {0, 1} for part in parts)
        assert [part.sum() for part in parts] == [6, 6, 30, 150]


def test_a_place_depends_on_seed_draw_and_patient_alone() -> None:
    drawn = [select_label_fraction(PATIENTS, 0.2, seed, draw=draw) for seed, draw in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert len({part.tobytes() for part in drawn}) == 4
    # Which patients a finetuning had yesterday, it has today.
    names = sorted(
        {patient for patient, here in zip(PATIENTS, select_label_fraction(PATIENTS, 0.05, 0), strict=True) if here}
    )
    assert names == ["patient 40", "patient 57", "patient 61", "patient 90", "patient 91"]
