import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mae_rad.embedding.standardised_rows import Standardised, fit_scale, vectors_of_array
from mae_rad.evaluation.probes import linear_and_knn
from mae_rad.evaluation.probes.linear_and_knn import TEMPERATURE, SplitData, run_probe
from mae_rad.evaluation.probes.number_probes import NUMBER_PROBES, PENALTIES
from mae_rad.evaluation.probes.ridge_regression import fit_ridge, predict_numbers

DIM = 30


def part(seed, patients=80, first_patient=0, noise=0.5):
    """Two films per patient; a number in months is linear in four of the channels, which lie on a long mean."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(2 * patients, DIM))
    y = 120 + 30 * (x[:, :4].sum(axis=1) / 2 + noise * random.normal(size=2 * patients))
    return SplitData(
        vectors_of_array(x * np.r_[1e-3, np.ones(DIM - 1)] + 20), y, np.repeat(np.arange(patients), 2) + first_patient
    )


TRAIN, VAL, TEST = part(0), part(1, first_patient=1000), part(2, first_patient=2000)
EMPTY = SplitData(TRAIN.x.take(np.arange(0)), TRAIN.y[:0], TRAIN.patients[:0])


@pytest.mark.parametrize("films", [160, 31, 30, 12, 2])
@pytest.mark.parametrize("penalty", [1e-3, 1.0, 300.0])
def test_ridge_equals_scikit_learn_with_more_and_with_fewer_films_than_channels(films, penalty):
    x, y = TRAIN.x.array()[:films].astype(float), TRAIN.y[:films]
    scored = TEST.x.array().astype(float)
    model = make_pipeline(StandardScaler(), Ridge(alpha=films * penalty, solver="svd"))
    expected = model.fit(x, y).predict(scored)
    train = vectors_of_array(x)
    scale = fit_scale(train)
    fitted = fit_ridge(Standardised(train, scale), y, [7.0, penalty])
    predicted = predict_numbers(fitted, Standardised(vectors_of_array(scored), scale))
    assert predicted.shape == (160, 2)
    np.testing.assert_allclose(predicted[:, 1], expected, rtol=1e-3, atol=0.02)


def test_a_constant_channel_has_no_effect():
    x = np.c_[TRAIN.x.array(), np.full(160, 5.0)]
    train = vectors_of_array(x)
    fitted = fit_ridge(Standardised(train, fit_scale(train)), TRAIN.y, PENALTIES)
    assert not fitted.weights[-1].any()
    assert np.isfinite(fitted.weights).all()


def test_channels_of_other_units_are_kept():
    """Raw measurements as external vectors: a channel of 1e7 beside one of 1 must not hide it."""
    random = np.random.default_rng(0)
    x = np.stack([random.normal(1e7, 1e3, 50), random.normal(0, 1, 50), np.full(50, 0.1), np.zeros(50)], axis=1)
    scale = fit_scale(vectors_of_array(x))
    assert np.isfinite(scale.std).tolist() == [True, True, False, False]
    np.testing.assert_allclose(scale.std[:2], x.astype(np.float32).std(axis=0)[:2], rtol=1e-3)


@pytest.mark.parametrize("name", NUMBER_PROBES)
def test_predictions_find_the_planted_number_in_its_unit(name):
    predicted = run_probe(NUMBER_PROBES[name], TRAIN, VAL, TEST.x, 1, seed=0).scores
    assert predicted.shape == (160, 1)
    assert r2_score(TEST.y, predicted[:, 0]) > {"linear": 0.6, "knn": 0.1}[name]
    train, val = (SplitData(p.x, p.y / 12 - 3, p.patients) for p in (TRAIN, VAL))
    in_years = run_probe(NUMBER_PROBES[name], train, val, TEST.x, 1, seed=0)
    np.testing.assert_allclose(in_years.scores, predicted / 12 - 3, rtol=1e-6)


def test_the_penalty_is_the_best_on_val():
    probed = run_probe(NUMBER_PROBES["linear"], TRAIN, VAL, TEST.x, 1, seed=0)
    errors = []
    for penalty in PENALTIES:
        model = make_pipeline(StandardScaler(), Ridge(alpha=160 * penalty))
        model.fit(TRAIN.x.array().astype(float), TRAIN.y)
        errors.append(np.mean((model.predict(VAL.x.array().astype(float)) - VAL.y) ** 2))
    assert probed.note == f"penalty={PENALTIES[int(np.argmin(errors))]:.3g} (val)"


def test_noise_is_answered_by_a_penalty_that_predicts_the_mean():
    random = np.random.default_rng(5)
    noise = SplitData(TRAIN.x, random.normal(size=160), TRAIN.patients)
    predicted = run_probe(NUMBER_PROBES["linear"], noise, EMPTY, TEST.x, 1, seed=0).scores
    assert np.abs(predicted - noise.y.mean()).max() < 0.3


def test_neighbours_predict_their_weighted_mean():
    ((predicted, _),) = NUMBER_PROBES["knn"].predict(TRAIN.x, TRAIN.y, TEST.x, 1, [7])
    scaler = StandardScaler().fit(TRAIN.x.array().astype(float))
    x, scored = (scaler.transform(p.x.array().astype(float)) for p in (TRAIN, TEST))
    distance, place = NearestNeighbors(n_neighbors=7, metric="cosine").fit(x).kneighbors(scored)
    weights = np.exp((1 - distance) / TEMPERATURE)
    expected = (weights * TRAIN.y[place]).sum(axis=1) / weights.sum(axis=1)
    np.testing.assert_allclose(predicted[:, 0], expected, rtol=1e-3)


def test_few_validation_patients_are_replaced_by_folds_that_keep_patients_together(monkeypatch):
    few = SplitData(VAL.x.take(np.arange(20)), VAL.y[:20], VAL.patients[:20])
    assert "5-fold in train" in run_probe(NUMBER_PROBES["linear"], TRAIN, few, TEST.x, 1, seed=0).note
    folds = list(linear_and_knn._splits(TRAIN, 5, 0))
    assert sorted(np.concatenate([scored for _, scored in folds])) == list(range(160))
    for fitted, scored in folds:
        assert not set(TRAIN.patients[fitted]) & set(TRAIN.patients[scored])
        assert 2 * 14 <= len(scored) <= 2 * 18


def test_a_small_val_leaves_the_choice_to_the_larger_train():
    """A hundred patients of val would choose by chance; as many as in train, or 500, decide."""
    smaller = SplitData(VAL.x.take(np.arange(60)), VAL.y[:60], VAL.patients[:60])
    assert len(np.unique(smaller.patients)) < len(np.unique(TRAIN.patients))
    assert "5-fold in train" in run_probe(NUMBER_PROBES["linear"], TRAIN, smaller, TEST.x, 1, seed=0).note
    assert "(val)" in run_probe(NUMBER_PROBES["linear"], smaller, TRAIN, TEST.x, 1, seed=0).note


def test_one_patient_is_too_few_to_choose():
    alone = SplitData(TRAIN.x.take(np.arange(2)), TRAIN.y[:2], TRAIN.patients[:2])
    assert "too few patients to choose" in run_probe(NUMBER_PROBES["linear"], alone, EMPTY, TEST.x, 1, seed=0).note
