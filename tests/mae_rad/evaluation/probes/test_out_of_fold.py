import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mae_rad.embedding.standardised_rows import vectors_of_array
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.probes.linear_and_knn import PROBES, SplitData
from mae_rad.evaluation.probes.number_probes import NUMBER_PROBES
from mae_rad.evaluation.probes.out_of_fold import out_of_fold


def films(n: int = 120, channels: int = 6, seed: int = 0) -> SplitData:
    random = np.random.default_rng(seed)
    patients = np.repeat(np.arange(n // 2), 2)
    y = (np.arange(n // 2) % 3)[patients]
    x = random.normal(size=(n, channels)) + 2.0 * np.eye(3, channels)[y]
    return SplitData(vectors_of_array(x), y, patients)


def test_scores_equal_scikit_learns_out_of_fold_fits() -> None:
    data = films()
    output = out_of_fold(PROBES["linear"], data, 3, seed=1, choose_on=1000)
    strength = float(output.note.split("=")[1].split(",")[0])
    expected, x = np.zeros((120, 3)), data.x.array().astype(float)
    for fit, scored in StratifiedGroupKFold(5, shuffle=True, random_state=1).split(x, data.y, data.patients):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
        expected[scored] = model.fit(x[fit], data.y[fit]).predict_proba(x[scored])
    np.testing.assert_allclose(output.scores, expected, atol=2e-3)


def test_a_film_is_never_scored_by_a_fit_to_its_patient() -> None:
    """Both films of a patient are the same, and their class is random: a probe that saw one would know the other."""
    random = np.random.default_rng(0)
    patients = np.repeat(np.arange(60), 2)
    y = random.integers(0, 2, 60)[patients]
    x = random.normal(size=(60, 200))[patients]
    scores = out_of_fold(
        PROBES["linear"], SplitData(vectors_of_array(x), y, patients), 2, seed=0, choose_on=1000
    ).scores
    assert (scores.argmax(axis=1) == y).mean() < 0.7


def test_hyperparameter_of_many_films_is_chosen_on_few() -> None:
    data = films(600)
    few = out_of_fold(PROBES["linear"], data, 3, seed=0, choose_on=100)
    every = out_of_fold(PROBES["linear"], data, 3, seed=0, choose_on=1000)
    assert "chosen on 100 films" in few.note
    assert few.scores.shape == (600, 3)
    assert (few.scores.argmax(axis=1) == every.scores.argmax(axis=1)).mean() > 0.95


def test_numbers_are_predicted_out_of_fold() -> None:
    random = np.random.default_rng(2)
    x = random.normal(size=(100, 4))
    numbers = 5 * x[:, 0] + random.normal(size=100)
    data = SplitData(vectors_of_array(x), numbers, np.arange(100))
    predicted = out_of_fold(NUMBER_PROBES["linear"], data, 1, seed=0, choose_on=1000).scores[:, 0]
    assert np.corrcoef(predicted, numbers)[0, 1] > 0.95
    assert not np.allclose(predicted, numbers)


def test_a_class_of_one_patient_is_refused() -> None:
    data = films()
    with pytest.raises(EvaluationError, match="fewer than two patients"):
        out_of_fold(PROBES["linear"], SplitData(data.x, data.y, np.zeros(120, np.int64)), 3, seed=0, choose_on=1000)
