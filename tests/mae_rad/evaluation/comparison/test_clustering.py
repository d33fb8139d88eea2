from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from mae_rad.evaluation.comparison.clustering import adjusted_rand_index, contingency, normalised_mutual_information

FIXTURE = Path(__file__).resolve().parents[4].parent / "shared" / "fixtures" / "clustering_metrics.npz"
RANDOM = np.random.default_rng(0)


def labels(agreement):
    y = RANDOM.integers(0, 5, 300)
    return y, np.where(RANDOM.random(300) < agreement, y, RANDOM.integers(0, 7, 300))


@pytest.mark.parametrize("agreement", [0.0, 0.5, 1.0])
def test_agreement_equals_scikit_learn_on_films_and_on_resamples(agreement):
    y, clusters = labels(agreement)
    weights = np.stack([np.ones(300), RANDOM.multinomial(300, np.full(300, 1 / 300))]).astype(float)
    nmi = normalised_mutual_information(contingency(y, clusters, weights))
    ari = adjusted_rand_index(contingency(y, clusters, weights))
    for row, weight in enumerate(weights):
        copies = np.repeat(np.arange(300), weight.astype(int))
        assert nmi[row] == pytest.approx(normalized_mutual_info_score(y[copies], clusters[copies]))
        assert ari[row] == pytest.approx(adjusted_rand_score(y[copies], clusters[copies]))


def test_one_cluster_and_one_class_agree_like_in_scikit_learn():
    same = np.zeros(5, dtype=int)
    table = contingency(same, same, np.ones((1, 5)))
    assert normalised_mutual_information(table)[0] == normalized_mutual_info_score(same, same) == 1
    assert adjusted_rand_index(table)[0] == adjusted_rand_score(same, same) == 1


@pytest.mark.shared
def test_agreement_equals_the_reference_values():
    if not FIXTURE.exists():
        pytest.skip("../shared/fixtures is not there")
    values = np.load(FIXTURE)
    table = contingency(values["y_true"], values["y_pred"], np.ones((1, 300)))
    assert normalised_mutual_information(table)[0] == pytest.approx(float(values["nmi"]), abs=1e-8)
    assert adjusted_rand_index(table)[0] == pytest.approx(float(values["ari"]), abs=1e-8)
