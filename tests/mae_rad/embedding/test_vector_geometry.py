import math

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from mae_rad.embedding.vector_geometry import alignment, linear_cka, rank_me, uniformity
from mae_rad.evaluation.comparison.films import Films
from mae_rad.evaluation.comparison.geometry_rows import repeat_pairs
from tests.builders.film_tables import film, write_public

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 8))


def orthogonal(size, seed=1):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def test_effective_rank_of_known_singular_values():
    for singular, expected in (
        ([1.0] * 8, 8.0),
        ([1.0] * 3 + [0.0] * 5, 3.0),
        (
            [4.0, 2, 1, 1, 0, 0, 0, 0],
            2 ** (0.5 * 1 + 0.25 * 2 + 2 * 0.125 * 3),
        ),  # entropy of 1/2, 1/4, 1/8, 1/8 in bits
    ):
        x = orthogonal(60)[:, :8] @ np.diag(singular) @ orthogonal(8, seed=2)
        assert rank_me(x) == pytest.approx(expected, rel=1e-4)


def test_alignment_and_uniformity_equal_their_definitions():
    other = X + 0.1 * RANDOM.normal(size=X.shape)
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (X, other))
    assert alignment(X, other) == pytest.approx(np.mean([np.sum((p - q) ** 2) for p, q in zip(a, b, strict=True)]))
    assert alignment(X, 3 * X) == pytest.approx(0, abs=1e-12)
    assert uniformity(X) == pytest.approx(math.log(np.exp(-2 * pdist(a, "sqeuclidean")).mean()))
    assert uniformity(np.ones((5, 3))) == pytest.approx(0)


def test_kernel_alignment_equals_its_kernels_and_knows_its_invariances():
    other = RANDOM.normal(size=(60, 5)) + X[:, :5]
    centre = np.eye(60) - 1 / 60
    k, m = (centre @ v @ v.T @ centre for v in (X, other))
    hsic = np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m))
    assert linear_cka(X, other) == pytest.approx(hsic)
    assert linear_cka(X, other) == pytest.approx(linear_cka(other, X))
    assert linear_cka(X, 7 * X @ orthogonal(8) + 3) == pytest.approx(1)
    assert linear_cka(X, np.random.default_rng(3).normal(size=(60, 2))) < 0.3


def test_repeated_films_are_of_one_patient_body_part_and_view_in_two_studies(tmp_path):
    def one(name, patient, study, part, view="PA"):
        return film(name, patient, "test", body_part=part, view=view) | {"study": f"{study:032x}"}

    films = [
        one("a", 1, 1, "HAND"), one("b", 1, 2, "HAND"), one("c", 1, 2, "HAND", "LATERAL"), one("d", 1, 1, "HAND"),
        one("e", 2, 3, "HAND"), one("f", 2, 4, "KNEE"), one("g", 3, 5, None), one("h", 3, 6, None),
    ]  # fmt: skip
    public = write_public(tmp_path / "public", films)
    first, second = repeat_pairs(Films([public]), np.arange(8), seed=0)
    keys = [row["key"] for row in films]
    assert [{keys[a], keys[b]} for a, b in zip(first, second, strict=True)] == [{films[0]["key"], films[1]["key"]}]
