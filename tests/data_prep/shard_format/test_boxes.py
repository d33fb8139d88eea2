"""The one intersection over union equals torchvision's and the reference values; boxes of one object are paired."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou as torchvision_iou

from data_prep.shard_format.boxes import EDGES, Box, box_iou, match_boxes
from data_prep.shard_format.label_schema import BOXES_SCHEMA
from mae_rad.losses.fcos import paired_box_iou

REFERENCE = Path(__file__).resolve().parents[3].parent / "shared" / "fixtures" / "detection_metrics.npz"


def drawn(count: int, seed: int) -> NDArray[np.float64]:
    """Boxes of every size, some thin, some equal, some far from all others."""
    random = np.random.default_rng(seed)
    corner = random.choice([0.0, 10.0, 1000.0], (count, 1)) + random.random((count, 2)) * 20
    return np.hstack(
        [corner, corner + random.choice([0.01, 5.0, 40.0], (count, 2)) * (0.5 + random.random((count, 2)))]
    )


@pytest.mark.parametrize("seed", range(20))
def test_the_overlap_is_that_of_torchvision(seed: int) -> None:
    first, second = drawn(17, seed), np.vstack([drawn(11, seed + 100), drawn(17, seed)[:3]])
    expected = torchvision_iou(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    found = box_iou(first, second)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=0)
    np.testing.assert_array_equal(found, box_iou(second, first).T)
    np.testing.assert_allclose(np.diag(box_iou(first, first)), 1)
    assert found.min() >= 0 and found.max() <= 1 + 1e-12


@pytest.mark.skipif(not REFERENCE.exists(), reason="no reference values on this machine")
def test_the_overlap_is_that_of_the_reference() -> None:
    with np.load(REFERENCE) as values:
        found = box_iou(values["pred_boxes"].astype(np.float64), values["true_boxes"].astype(np.float64))
        np.testing.assert_allclose(found, values["iou"], rtol=1e-12)


def test_the_tensor_form_of_the_losses_gives_the_same_overlap() -> None:
    first, second = drawn(50, 1), drawn(50, 1) + np.random.default_rng(2).normal(0, 0.2, (50, 4)).clip(-0.4, 0.4)
    second = np.hstack([np.minimum(second[:, :2], second[:, 2:] - 0.1), second[:, 2:]])
    paired = paired_box_iou(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    assert paired.max() > 0.5
    np.testing.assert_allclose(paired, np.diag(box_iou(first, second)), rtol=1e-12, atol=1e-9)


def test_empty_boxes_and_empty_sets_do_not_overlap() -> None:
    """Not 0/0, which compares as false with every threshold and hides the boxes that follow."""
    boxes = np.array([[5, 5, 5, 5], [0, 0, 10, 10], [5, 5, 5, 9]], dtype=np.float64)
    with np.errstate(all="raise"):
        assert box_iou(boxes, boxes).tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert box_iou(boxes, boxes[:0]).shape == (3, 0) and box_iou(boxes[:0], boxes).shape == (0, 3)
    assert [match[:2] for match in match_boxes(boxes, boxes, 0.5)] == [(1, 1)]


def test_boxes_are_matched_once_the_largest_overlap_first() -> None:
    first = np.array([[0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]], dtype=np.float64)
    second = np.array([[0, 0, 10, 8], [0, 0, 10, 10], [20, 20, 30, 35], [80, 80, 90, 90]], dtype=np.float64)
    assert match_boxes(first, second, 0.5) == [(0, 1, 1.0), (1, 2, pytest.approx(10 / 15))]
    assert match_boxes(first, second, 0.7) == [(0, 1, 1.0)]
    assert match_boxes(first, second[:0], 0.5) == []
    assert {(b, a) for a, b, _ in match_boxes(second, first, 0.5)} == {
        (a, b) for a, b, _ in match_boxes(first, second, 0.5)
    }


def test_arrays_of_boxes_hold_the_edges_in_the_order_of_the_table() -> None:
    assert [name for name in BOXES_SCHEMA.names if name in EDGES] == list(EDGES)
    assert Box(*(1.0, 2.0, 3.0, 4.0)).y_max == 4.0
