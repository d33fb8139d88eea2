import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mae_rad.embedding.standardised_rows import Standardised, fit_scale, vectors_of_array
from mae_rad.evaluation.probes.linear_and_knn import PROBES, TEMPERATURE, SplitData, run_probe
from mae_rad.evaluation.probes.logistic_regression import fit


def part(seed, n=160, classes=3, signal=1.5, first_patient=0):
    """Two films per patient; the class shifts two of twelve channels, one of them of tiny scale, on a long mean."""
    random = np.random.default_rng(seed)
    y = np.repeat(random.permutation(n // 2) % classes, 2)
    x = random.normal(size=(n, 12))
    x[:, :2] += signal * np.stack([np.cos(2 * y), np.sin(2 * y)], axis=1)
    x = x * np.r_[1e-3, np.ones(11)] + 20
    return SplitData(vectors_of_array(x), y, np.repeat(np.arange(n // 2), 2) + first_patient)


TRAIN, VAL, TEST = part(0), part(1, first_patient=1000), part(2, first_patient=2000)
EMPTY = SplitData(TRAIN.x.take(np.arange(0)), TRAIN.y[:0], TRAIN.patients[:0])


def changed(p, x):
    return SplitData(vectors_of_array(x), p.y, p.patients)


@pytest.mark.parametrize("name", PROBES)
def test_scores_are_probabilities_that_find_the_planted_signal(name):
    scores = run_probe(PROBES[name], TRAIN, VAL, TEST.x, 3, seed=0).scores
    assert scores.shape == (160, 3)
    assert (scores >= 0).all()
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)
    assert roc_auc_score(TEST.y, scores, multi_class="ovr") > 0.85


@pytest.mark.parametrize("name", PROBES)
def test_no_signal_no_score(name):
    random = np.random.default_rng(3)
    noise = [changed(p, random.normal(size=(len(p.x), 12))) for p in (TRAIN, VAL, TEST)]
    scores = run_probe(PROBES[name], noise[0], noise[1], noise[2].x, 3, seed=0).scores
    assert 0.35 < roc_auc_score(TEST.y, scores, multi_class="ovr") < 0.65


def test_linear_probe_equals_scikit_learn_with_the_same_strength():
    probed = run_probe(PROBES["linear"], TRAIN, VAL, TEST.x, 3, seed=0)
    chosen = float(probed.note.split("=")[1].split()[0])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=chosen, max_iter=2000))
    expected = model.fit(TRAIN.x.array().astype(float), TRAIN.y).predict_proba(TEST.x.array().astype(float))
    np.testing.assert_allclose(probed.scores, expected, atol=2e-3)


def test_neighbours_equal_an_independent_count():
    ((scores, _),) = PROBES["knn"].predict(TRAIN.x, TRAIN.y, TEST.x, 3, [7])
    scaler = StandardScaler().fit(TRAIN.x.array().astype(float))
    x, scored = (scaler.transform(p.x.array().astype(float)) for p in (TRAIN, TEST))
    distance, rows = NearestNeighbors(n_neighbors=7, metric="cosine").fit(x).kneighbors(scored)
    votes = np.exp((1 - distance) / TEMPERATURE)
    expected = np.stack([(votes * (TRAIN.y[rows] == c)).sum(axis=1) for c in range(3)], axis=1)
    np.testing.assert_allclose(scores, expected / expected.sum(axis=1, keepdims=True), atol=1e-4)


def test_a_k_above_the_number_of_training_films_takes_all_of_them():
    many, all_of_them = PROBES["knn"].predict(TRAIN.x, TRAIN.y, TEST.x, 3, [5000, len(TRAIN.y)])
    np.testing.assert_array_equal(many.scores, all_of_them.scores)


@pytest.mark.parametrize("name", PROBES)
def test_a_shift_and_a_scale_of_the_channels_change_nothing(name):
    scale = np.random.default_rng(4).uniform(0.1, 10, size=12).astype(np.float32)
    one = run_probe(PROBES[name], TRAIN, VAL, TEST.x, 3, seed=0)
    moved = [changed(p, p.x.array() * scale - 5) for p in (TRAIN, VAL, TEST)]
    other = run_probe(PROBES[name], moved[0], moved[1], moved[2].x, 3, seed=0)
    assert one.note == other.note
    np.testing.assert_allclose(one.scores, other.scores, atol=5e-3)


@pytest.mark.parametrize("name", PROBES)
def test_without_validation_patients_the_choice_is_by_cross_validation(name):
    few = SplitData(VAL.x.take(np.arange(8)), VAL.y[:8], VAL.patients[:8])
    for val in (EMPTY, few):
        probed = run_probe(PROBES[name], TRAIN, val, TEST.x, 3, seed=0)
        assert "5-fold in train" in probed.note
        assert roc_auc_score(TEST.y, probed.scores, multi_class="ovr") > 0.85
    assert "val" in run_probe(PROBES[name], TRAIN, VAL, TEST.x, 3, seed=0).note


def test_cross_validation_is_grouped_by_patient():
    """Vectors that tell the patient and nothing of the class: only folds that split a patient would like k = 1."""
    random = np.random.default_rng(5)
    patients = np.repeat(np.arange(60), 4)
    x = np.repeat(random.normal(size=(60, 8)), 4, axis=0) + 0.01 * random.normal(size=(240, 8))
    y = np.repeat(random.permutation(60) % 2, 4)
    probe = PROBES["knn"]
    seen = []

    def predict(fit_x, fit_y, scored, classes, candidates):
        seen.append((fit_x.array(), scored.array()))
        return probe.predict(fit_x, fit_y, scored, classes, candidates)

    train = SplitData(vectors_of_array(x), y, patients)
    run_probe(type(probe)("k", (200, 1), predict), train, EMPTY, train.x.take(np.arange(1)), 2, seed=0)
    who = {row.tobytes(): patient for row, patient in zip(train.x.array(), patients, strict=True)}
    for fitted, held in seen[:-1]:
        assert not {who[row.tobytes()] for row in fitted} & {who[row.tobytes()] for row in held}
    assert sum(len(held) for _, held in seen[:-1]) == 240


def test_the_test_films_do_not_enter_the_choice_or_the_fit():
    one = run_probe(PROBES["linear"], TRAIN, VAL, TEST.x, 3, seed=0)
    test = TEST.x.array()
    other = run_probe(PROBES["linear"], TRAIN, VAL, vectors_of_array(np.r_[test, 1000 * test[:5]]), 3, seed=0)
    np.testing.assert_array_equal(one.scores, other.scores[:160])


def test_a_constant_channel_becomes_zero():
    x = np.c_[np.full(9, 0.1, np.float32), np.arange(9, dtype=np.float32)]
    scale = fit_scale(vectors_of_array(x))
    fitted, scored = scale.apply(x), scale.apply(x + 1)
    assert (fitted[:, 0] == 0).all()
    assert np.isfinite(scored).all()
    assert fitted[:, 1].std() == pytest.approx(1)


def test_a_probe_that_does_not_converge_is_noted(monkeypatch):
    monkeypatch.setattr("mae_rad.evaluation.probes.logistic_regression.ITERATIONS", 1)
    assert "not converged" in run_probe(PROBES["linear"], TRAIN, VAL, TEST.x, 3, seed=0).note


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("strength", [1e-3, 1.0])
def test_weights_equal_scikit_learn(classes, strength):
    train = part(0, n=400, classes=classes)
    x = Standardised(train.x, fit_scale(train.x))
    (model,) = fit(x, train.y, classes, [strength])
    oracle = LogisticRegression(C=strength, tol=1e-9, max_iter=5000).fit(x.array().astype(float), train.y)
    np.testing.assert_allclose(model.weights[:, :-1], oracle.coef_, atol=3e-3 * np.abs(oracle.coef_).max())


def test_blocks_from_the_disk_give_the_same_weights(monkeypatch):
    train = part(0, n=400)
    scale = fit_scale(train.x)
    (whole,) = fit(Standardised(train.x, scale), train.y, 3, [0.1])
    monkeypatch.setattr("mae_rad.embedding.standardised_rows.MAX_BYTES_IN_MEMORY", 0)
    monkeypatch.setattr("mae_rad.embedding.standardised_rows.BLOCK_BYTES", 4 * 12 * 37)
    (blocks,) = fit(Standardised(train.x, fit_scale(train.x)), train.y, 3, [0.1])
    np.testing.assert_allclose(blocks.weights, whole.weights, atol=1e-3)


def test_too_few_patients_to_choose_are_noted():
    rows = np.r_[np.flatnonzero(TRAIN.y == 0)[:8], np.flatnonzero(TRAIN.y == 1)[:8], np.flatnonzero(TRAIN.y == 2)[:2]]
    few = SplitData(TRAIN.x.take(rows), TRAIN.y[rows], TRAIN.patients[rows])
    assert "too few patients to choose" in run_probe(PROBES["linear"], few, EMPTY, TEST.x, 3, seed=0).note
