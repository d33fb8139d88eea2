"""What a detection is judged by, at thresholds and by size."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mae_rad.evaluation.detection.detection_metrics import SIZES, detection_estimates, quick_estimates, threshold_at
from mae_rad.evaluation.detection.froc import centres_inside
from mae_rad.evaluation.detection.froc_figure import draw_froc
from mae_rad.evaluation.detection.ranked_boxes import FilmDetections
from tests.builders.drawn_boxes import drawn_films


def value(films, name):
    return detection_estimates(films)[name](np.ones((1, len(films))))[0]


@pytest.mark.parametrize("coarse", [False, True], ids=["distinct scores", "ties"])
@pytest.mark.parametrize("rate", [0.25, 1.0, 4.0, 100.0])
def test_a_threshold_allows_so_many_false_positives_and_no_lower_one_does(rate, coarse):
    films = drawn_films(1, 20, coarse=coarse)
    threshold = threshold_at(films, rate)
    assert threshold is not None

    def false_from(score):
        return sum(int((~centres_inside(one).any(axis=1) & (one.scores >= score)).sum()) for one in films)

    assert false_from(threshold) <= rate * len(films)
    lower = [score for one in films for score in one.scores if score < threshold]
    if lower:
        assert false_from(max(lower)) > rate * len(films)


def test_without_a_box_there_is_no_threshold():
    assert threshold_at([FilmDetections(np.empty((0, 4)), np.empty(0), np.empty((0, 4)))], 1.0) is None


def test_the_film_auroc_uses_the_highest_score_of_a_box():
    films = drawn_films(4, 40)
    present = [len(film.true) > 0 for film in films]
    surest = [film.scores.max(initial=0) for film in films]
    assert value(films, "film_auroc") == pytest.approx(roc_auc_score(present, surest))


def test_every_object_has_one_size():
    films = drawn_films(2, 40)
    sides = np.concatenate([np.sqrt((film.true[:, 2:] - film.true[:, :2]).prod(axis=1)) for film in films])
    for low, high in SIZES.values():
        assert ((sides >= low) & (sides <= high)).any()
    assert sorted(bound for one in SIZES.values() for bound in one)[1:-1] == [10, 10, 20, 20]


def test_metrics_on_val_films_equal_those_of_the_final_evaluation():
    films = drawn_films(3, 25)
    for name, estimate in quick_estimates(films).items():
        assert estimate(np.ones((1, 25)))[0] == value(films, name)
    rates = [value(films, name) for name in detection_estimates(films) if name.startswith("sensitivity_at_")]
    assert value(films, "froc") == pytest.approx(np.mean(rates))
    assert rates == sorted(rates)


def test_curves_are_drawn_with_their_band(tmp_path):
    films = {"one": drawn_films(3, 25), "other": drawn_films(4, 25)}
    patients = dict.fromkeys(films, np.arange(25) // 2)
    draw_froc(films, patients, tmp_path / "froc.png", split="test", repetitions=100)
    assert (tmp_path / "froc.png").stat().st_size > 10_000
