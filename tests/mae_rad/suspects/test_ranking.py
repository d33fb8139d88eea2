import numpy as np
import pytest

from mae_rad.suspects.ranking import (
    confident_class,
    expected_far,
    expected_wrong,
    robust_residual,
)


def planted(films: int = 3000, wrong: float = 0.1, sure: float = 4.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities that know the true class, and stated classes of which a share was exchanged."""
    random = np.random.default_rng(0)
    true = random.integers(0, 3, films)
    logits = random.normal(size=(films, 3)) + sure * np.eye(3)[true]
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    exchanged = random.random(films) < wrong
    return probability, np.where(exchanged, (true + 1) % 3, true), exchanged


def test_confident_class_is_that_of_the_paper() -> None:
    """Northcutt et al. 2021, equations 1 and 2, film by film."""
    probability, y, _ = planted(200, sure=1.0)
    thresholds = [np.mean([p[c] for p, stated in zip(probability, y, strict=True) if stated == c]) for c in range(3)]
    expected = []
    for row in probability:
        reached = {c: row[c] for c in range(3) if row[c] >= thresholds[c]}
        expected.append(max(reached, key=reached.__getitem__) if reached else -1)
    assert confident_class(probability, y).tolist() == expected
    assert -1 in expected


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
def test_expected_number_is_about_that_of_the_planted(share: float) -> None:
    probability, y, exchanged = planted(wrong=share)
    value, low, high = expected_wrong(probability, y, np.arange(3000), repetitions=200, seed=0)
    assert value == pytest.approx(exchanged.sum(), abs=40)
    assert low <= value <= high
    assert low >= 0


def test_planted_films_are_suspects() -> None:
    probability, y, exchanged = planted()
    confident = confident_class(probability, y)
    suspects = (confident >= 0) & (confident != y)
    assert exchanged[suspects].mean() > 0.9
    assert suspects[exchanged].mean() > 0.6


def test_a_rare_class_is_confident_at_its_own_probability() -> None:
    """Rare films reach 0.4 for their class, the others 0.9 for theirs: one with 0.45 is confidently rare."""
    y = np.array([0] * 90 + [1] * 10)
    rare = np.where(y == 1, 0.4, 0.1)
    rare[0] = 0.45
    confident = confident_class(np.stack([1 - rare, rare], axis=1), y)
    assert confident[0] == 1
    assert (confident[1:90] == 0).all()


def test_groups_widen_the_interval() -> None:
    probability, y, _ = planted()
    alone, together = (
        expected_wrong(probability, y, groups, repetitions=200, seed=0)
        for groups in (np.arange(3000), np.argsort(np.argsort(probability[np.arange(3000), y])) // 30)
    )
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_residuals_are_in_robust_deviations() -> None:
    random = np.random.default_rng(0)
    predicted = random.normal(size=5000)
    stated = predicted + 7 + 2 * random.normal(size=5000)
    stated[:3] += 100
    away = robust_residual(stated, predicted)
    assert set(np.argsort(-np.abs(away))[:3].tolist()) == {0, 1, 2}
    assert np.std(away[3:]) == pytest.approx(1, abs=0.05)
    assert expected_far(5000) == pytest.approx((np.abs(away[3:]) >= 3).sum(), abs=12)


def test_equal_residuals_are_no_suspects() -> None:
    assert robust_residual(np.ones(9), np.zeros(9)).tolist() == [0] * 9
