import numpy as np
import pytest

from mae_rad.evaluation.comparison.label_draws import labelled, training_places
from mae_rad.evaluation.comparison.tasks import ProbeTask

RANDOM = np.random.default_rng(0)
PATIENTS = np.repeat(np.arange(300), RANDOM.integers(1, 5, 300))
SPLIT = np.array(["train", "train", "val", "test"], dtype=object)[PATIENTS % 4]
Y = (np.repeat(RANDOM.random(300) < 0.03, np.bincount(PATIENTS))).astype(np.int64)
TASK = ProbeTask("fracture", ("absent", "present"), np.arange(len(Y)), PATIENTS, SPLIT, Y, {})
TRAIN = TASK.places("train")


def patients(places):
    return set(PATIENTS[places].tolist())


@pytest.mark.parametrize("draw", [0, 1, 2])
def test_fractions_are_of_patients_and_nested(draw):
    fractions = (0.01, 0.05, 0.1, 0.5, 1.0)
    draws = [labelled(TASK, TRAIN, fraction, draw, seed=0) for fraction in fractions]
    for part in ("train", "val"):
        everyone = patients(TASK.places(part))
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
        assert set(Y[labelled(TASK, TRAIN, 0.01, draw, seed=0).train]) == {0, 1}


def test_draws_differ_and_are_the_same_again():
    one, other, again = (labelled(TASK, TRAIN, 0.1, draw, seed=0).train for draw in (0, 1, 0))
    assert patients(one) != patients(other)
    np.testing.assert_array_equal(one, again)


def test_training_films_are_limited_by_patient():
    limited = training_places(TASK, 100, seed=0)
    assert 90 <= len(limited) <= 100
    assert not patients(limited) & patients(np.setdiff1d(TRAIN, limited))
    np.testing.assert_array_equal(training_places(TASK, len(TRAIN), seed=0), TRAIN)
