from dataclasses import replace

import numpy as np
import pytest

from mae_rad.data.label_fraction import select_label_fraction
from mae_rad.evaluation.comparison.films import Films
from mae_rad.evaluation.comparison.label_draws import draw_folds, draw_labels, patient_folds, training_positions
from mae_rad.evaluation.comparison.tasks import ProbeTask
from tests.builders.film_tables import film, write_public

RANDOM = np.random.default_rng(0)
PATIENTS = np.repeat(np.arange(300), RANDOM.integers(1, 5, 300))
SPLIT = np.array(["train", "train", "val", "test"], dtype=object)[PATIENTS % 4]
Y = (np.repeat(RANDOM.random(300) < 0.03, np.bincount(PATIENTS))).astype(np.int64)
PSEUDONYMS = np.array([f"patient {number}" for number in PATIENTS], dtype=object)
TASK = ProbeTask("fracture", ("absent", "present"), np.arange(len(Y)), PATIENTS, PSEUDONYMS, SPLIT, Y, {})
TRAIN = TASK.positions("train")


def patients(places):
    return set(PATIENTS[places].tolist())


@pytest.mark.parametrize("draw", [0, 1, 2])
def test_fractions_are_of_patients_and_nested(draw):
    fractions = (0.01, 0.05, 0.1, 0.5, 1.0)
    draws = [draw_labels(TASK, TRAIN, fraction, draw, seed=0) for fraction in fractions]
    for part in ("train", "val"):
        everyone = patients(TASK.positions(part))
        seen = [patients(getattr(one, part)) for one in draws]
        for fraction, small, large in zip(fractions, seen, seen[1:], strict=False):
            assert small <= large
            assert len(small) == max(int(np.ceil(fraction * len(everyone))), 2)
        assert seen[-1] == everyone
        for one in draws:  # a patient comes with all films
            places = getattr(one, part)
            assert (np.bincount(PATIENTS[places], minlength=300) == np.bincount(PATIENTS, minlength=300))[
                list(patients(places))
            ].all()


def test_every_class_is_among_the_labels_however_few():
    for draw in range(20):
        assert set(Y[draw_labels(TASK, TRAIN, 0.01, draw, seed=0).train]) == {0, 1}


def test_draws_differ_and_are_reproducible():
    one, other, again = (draw_labels(TASK, TRAIN, 0.1, draw, seed=0).train for draw in (0, 1, 0))
    assert patients(one) != patients(other)
    np.testing.assert_array_equal(one, again)


def without(patient):
    """The task as if ``patient`` were not in the archive: numbers move, pseudonyms stay."""
    stays = patient != PATIENTS
    numbers = np.unique(PATIENTS[stays], return_inverse=True)[1]
    rows = np.arange(stays.sum())
    return ProbeTask("fracture", ("absent", "present"), rows, numbers, PSEUDONYMS[stays], SPLIT[stays], Y[stays], {})


@pytest.mark.parametrize("patient", [0, 1, 5, 40, 121])
def test_removing_a_patient_does_not_change_the_labels_of_others(patient):
    before = set(PSEUDONYMS[draw_labels(TASK, TRAIN, 0.2, 0, seed=0).train])
    task = without(patient)
    after = set(task.pseudonyms[draw_labels(task, task.positions("train"), 0.2, 0, seed=0).train])
    assert len(before ^ after) <= 2


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 1.0])
def test_a_probe_has_the_labels_that_a_finetuning_of_that_seed_has(fraction):
    probe = set(PSEUDONYMS[draw_labels(TASK, TRAIN, fraction, 0, seed=3).train])
    finetuning = set(PSEUDONYMS[TRAIN][select_label_fraction(PSEUDONYMS[TRAIN].tolist(), fraction, 3)])
    assert len(probe ^ finetuning) <= 2  # a patient of the rare class comes first, and another one gives way
    other = set(PSEUDONYMS[draw_labels(TASK, TRAIN, fraction, 1, seed=3).train])
    assert fraction == 1 or len(other ^ finetuning) > 2


def test_training_films_are_limited_by_patient():
    limited = training_positions(TASK, 100, seed=0)
    assert 90 <= len(limited) <= 100
    assert not patients(limited) & patients(np.setdiff1d(TRAIN, limited))
    np.testing.assert_array_equal(training_positions(TASK, len(TRAIN), seed=0), TRAIN)


def test_a_limit_leaves_a_patient_of_every_class():
    few = training_positions(TASK, 1, seed=0)
    assert set(TASK.y[few]) == set(TASK.y[TRAIN])
    assert not patients(few) & patients(np.setdiff1d(TRAIN, few))


FOLDS = np.where(SPLIT == "test", PATIENTS // 4 % 5, -1)
FOLDED = replace(TASK, folds=FOLDS)


def test_without_folds_a_draw_has_the_films_of_the_splits():
    ((train, val, test),) = draw_folds(TASK, 0.5, 1, 10**6, seed=0)
    np.testing.assert_array_equal(train, draw_labels(TASK, TRAIN, 0.5, 1, seed=0).train)
    np.testing.assert_array_equal(val, draw_labels(TASK, TRAIN, 0.5, 1, seed=0).val)
    np.testing.assert_array_equal(test, TASK.positions("test"))


@pytest.mark.parametrize("fraction", [0.2, 1.0])
def test_every_test_film_is_scored_once_by_a_probe_that_knows_none_of_its_patient(fraction):
    folds = draw_folds(FOLDED, fraction, 0, 10**6, seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.test for fold in folds])), TASK.positions("test"))
    for fold in folds:
        assert set(SPLIT[fold.train]) == {"test"}
        assert not len(fold.val)
        assert not patients(fold.train) & patients(fold.test)
        others = patients(TASK.positions("test")) - patients(fold.test)
        assert len(patients(fold.train)) == np.ceil(fraction * len(others))


def test_labels_of_folds_are_nested_and_limited():
    for small, large in zip(draw_folds(FOLDED, 0.2, 0, 10**6, 0), draw_folds(FOLDED, 0.5, 0, 10**6, 0), strict=True):
        assert patients(small.train) < patients(large.train)
    assert max(len(fold.train) for fold in draw_folds(FOLDED, 1.0, 0, 50, seed=0)) <= 50


def test_the_fold_of_a_patient_depends_on_no_other_patient(tmp_path):
    rows = [film((patient, n), patient, "test" if patient % 2 else "train") for patient in range(300) for n in (0, 1)]
    every = Films([write_public(tmp_path / "a", rows)])
    folds = patient_folds(every, 5, seed=0)
    assert folds is not None
    few = Films([write_public(tmp_path / "b", rows[150:])])
    np.testing.assert_array_equal(patient_folds(few, 5, seed=0), folds[150:])
    assert len({(patient, fold) for patient, fold in zip(every.patients.tolist(), folds.tolist(), strict=True)}) == 300
    counts = np.bincount(folds[folds >= 0], minlength=5) / 2
    assert counts.sum() == 150
    assert counts.min() > 15  # 30 each on average
    assert (patient_folds(every, 5, seed=1) != folds).any()
    assert patient_folds(every, 0, seed=0) is None
