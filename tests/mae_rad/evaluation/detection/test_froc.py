"""FROC is what object-CXR says: walked through prediction by prediction."""

import numpy as np
import pytest

from mae_rad.evaluation.detection.froc import RATES, froc, rank_centres, sensitivities
from mae_rad.evaluation.detection.ranked_boxes import FilmDetections
from tests.builders.drawn_boxes import drawn_films

SEEDS = range(6)


def walked(films, rate):
    """From the surest prediction down, until ``rate`` false positives per film are there."""
    points = []
    for number, film in enumerate(films):
        for box, score in zip(film.predicted, film.scores, strict=True):
            x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            inside = [m for m, t in enumerate(film.true) if t[0] <= x <= t[2] and t[1] <= y <= t[3]]
            points.append((-score, bool(inside), number, inside))
    found, false = set(), 0
    for _, _, number, inside in sorted(points, key=lambda point: point[:2]):
        found |= {(number, m) for m in inside}
        false += not inside
        if false / len(films) >= rate:
            break
    return len(found) / sum(len(film.true) for film in films)


@pytest.mark.parametrize("coarse", [False, True], ids=["distinct scores", "ties"])
@pytest.mark.parametrize("seed", SEEDS)
def test_froc_equals_a_loop_over_the_predictions(seed, coarse):
    films = drawn_films(seed, coarse=coarse)
    ranking, once = rank_centres(films), np.ones((1, len(films)))
    expected = [walked(films, rate) for rate in RATES]
    np.testing.assert_allclose(sensitivities(ranking, once)[0], expected, atol=1e-12)
    assert froc(ranking, once)[0] == pytest.approx(np.mean(expected), abs=1e-12)
    assert min(expected) < max(expected)  # the films tell the rates apart


@pytest.mark.parametrize("seed", SEEDS)
def test_a_weight_is_as_many_copies_of_the_film(seed):
    films = drawn_films(seed, coarse=True)
    weights = np.random.default_rng(seed).integers(0, 3, size=(4, len(films))).astype(float)
    ranking = rank_centres(films)
    for row, weight in enumerate(weights.astype(int)):
        copies = [film for film, count in zip(films, weight, strict=True) for _ in range(count)]
        expected = [walked(copies, rate) for rate in RATES]
        np.testing.assert_allclose(sensitivities(ranking, weights)[row], expected, atol=1e-12)


def test_further_hits_on_a_found_object_count_neither_way():
    true = np.array([[0.0, 0, 10, 10]])
    box = np.array([[4.0, 4, 6, 6]])
    other = np.array([[50.0, 50, 60, 60]])
    films = [FilmDetections(np.concatenate([box] * 5), np.linspace(0.9, 0.5, 5), true)]
    films += [FilmDetections(other, np.array([0.7]), true)]
    assert sensitivities(rank_centres(films), np.ones((1, 2)), [0.125, 1.0])[0].tolist() == [0.5, 0.5]


def test_one_centre_may_find_two_objects():
    true = np.array([[0.0, 0, 10, 10], [5, 5, 30, 30]])
    films = [FilmDetections(np.array([[6.0, 6, 8, 8]]), np.array([0.5]), true)]
    assert froc(rank_centres(films), np.ones((1, 1)))[0] == 1


def test_without_an_object_there_is_no_sensitivity():
    film = FilmDetections(np.array([[6.0, 6, 8, 8]]), np.array([0.5]), np.empty((0, 4)))
    assert np.isnan(froc(rank_centres([film]), np.ones((1, 1)))[0])


def test_without_a_prediction_nothing_is_found():
    film = FilmDetections(np.empty((0, 4)), np.empty(0), np.array([[0.0, 0, 1, 1]]))
    assert froc(rank_centres([film]), np.ones((1, 1)))[0] == 0
