"""Which patients decide a detection metric."""

import numpy as np

from mae_rad.evaluation.detection.detection_metrics import ALL_OBJECTS, patients_with_objects
from mae_rad.evaluation.detection.ranked_boxes import FilmDetections

NOTHING = np.empty((0, 4))


def _film(*sides: float) -> FilmDetections:
    true = np.array([[0.0, 0.0, side, side] for side in sides]).reshape(-1, 4)
    return FilmDetections(NOTHING, np.empty(0), true)


def test_patients_with_an_object_or_one_of_its_size_are_counted() -> None:
    films = [_film(5), _film(5, 40), _film(40), _film(), _film(), _film()]
    counts = patients_with_objects(films, np.array([0, 0, 1, 2, 3, 4]))
    assert counts[ALL_OBJECTS] == 2
    assert counts["film_auroc"] == 2
    assert counts["ap_under_10px"] == counts["ap50_under_10px"] == 1
    assert counts["ap_10_to_20px"] == 0
    assert counts["ap_from_20px"] == 2
