"""Average precision equals COCO's own implementation."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mae_rad.evaluation.detection.average_precision import ALL_SIZES, THRESHOLDS, average_precision, rank_boxes
from mae_rad.evaluation.detection.ranked_boxes import FilmDetections
from tests.builders.drawn_boxes import drawn_films

SIDES = {"all": ALL_SIZES, "small": (0.0, 10.0), "medium": (10.0, 20.0), "large": (20.0, 1e5)}


def reference(films):
    """name of the size → [10] average precision at each threshold."""
    corners = [(number, box) for number, film in enumerate(films) for box in film.true]
    truth, quiet = COCO(), contextlib.redirect_stdout(io.StringIO())
    truth.dataset = {
        "images": [{"id": number + 1} for number in range(len(films))],
        "categories": [{"id": 1}],
        "annotations": [
            {
                "id": place + 1, "image_id": number + 1, "category_id": 1, "iscrowd": 0,
                "bbox": [*box[:2], *(box[2:] - box[:2])], "area": float((box[2:] - box[:2]).prod()),
            }
            for place, (number, box) in enumerate(corners)
        ],
    }  # fmt: skip
    found = [
        {"image_id": number + 1, "category_id": 1, "score": score, "bbox": [*box[:2], *(box[2:] - box[:2])]}
        for number, film in enumerate(films)
        for box, score in zip(film.predicted, film.scores, strict=True)
    ]
    with quiet:
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes(found), "bbox")
        run.params.areaRng = [[low**2, min(high, 1e5) ** 2] for low, high in SIDES.values()]
        run.params.areaRngLbl = list(SIDES)
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][:, :, 0, :, -1]  # [thresholds, recalls, sizes]
    return {name: precision[:, :, place].mean(axis=1) for place, name in enumerate(SIDES)}


def ours(films, sides, weights):
    return np.stack([average_precision([rank_boxes(films, one, sides)], weights) for one in THRESHOLDS])


@pytest.mark.parametrize("coarse", [False, True], ids=["distinct scores", "ties"])
@pytest.mark.parametrize("seed", range(4))
def test_average_precision_equals_the_coco_reference(seed, coarse):
    films = drawn_films(seed, 20, coarse=coarse)
    expected = reference(films)
    for name, sides in SIDES.items():
        values = ours(films, sides, np.ones((1, len(films))))[:, 0]
        np.testing.assert_allclose(values, expected[name], atol=1e-12, err_msg=name)
        mean = average_precision([rank_boxes(films, one, sides) for one in THRESHOLDS], np.ones((1, len(films))))
        assert mean[0] == pytest.approx(expected[name].mean(), abs=1e-12)
    assert 0.05 < expected["all"][0] < 0.95


def test_a_weight_is_as_many_copies_of_the_film():
    films = drawn_films(7, 15)
    weights = np.random.default_rng(7).integers(0, 3, size=(3, len(films))).astype(float)
    for row, weight in enumerate(weights.astype(int)):
        copies = [film for film, count in zip(films, weight, strict=True) for _ in range(count)]
        np.testing.assert_allclose(ours(films, ALL_SIZES, weights)[:, row], reference(copies)["all"], atol=1e-12)


def test_boxes_count_by_their_size_in_the_given_unit():
    drawn = drawn_films(3, 20)
    twice = [FilmDetections(film.predicted * 2, film.scores, film.true * 2, unit=0.5) for film in drawn]
    for sides in SIDES.values():
        np.testing.assert_allclose(
            *(ours(films, sides, np.ones((1, len(films)))) for films in (drawn, twice)), atol=1e-12
        )


def test_without_an_object_there_is_no_precision():
    film = FilmDetections(np.array([[6.0, 6, 8, 8]]), np.array([0.5]), np.empty((0, 4)))
    assert np.isnan(average_precision([rank_boxes([film], 0.5)], np.ones((1, 1)))[0])


def test_a_thousand_predictions_are_counted_in_blocks(monkeypatch):
    films = drawn_films(5, 30)
    whole = ours(films, ALL_SIZES, np.ones((2, 30)))
    monkeypatch.setattr("mae_rad.evaluation.detection.ranked_boxes._MAX_NUMBERS", 64)
    np.testing.assert_allclose(ours(films, ALL_SIZES, np.ones((2, 30))), whole, atol=1e-12)
