"""The pointing game equals its definition by brute force."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mae_rad.bench.evaluation import pointing_game
from mae_rad.bench.evaluation.pointing_game import Pointed, play, touched
from mae_rad.export.predictor_folder import load_predictor
from tests.builders.small_predictor import write_predictor
from tests.mae_rad.explain.test_grad_cam import films

PATCH = 8


def by_pixels(grid: tuple[int, int], boxes: np.ndarray, fine: int = 4) -> np.ndarray:
    """Which patches have a point of a fine lattice inside a box."""
    rows, columns = (np.arange(side * PATCH * fine) / fine + 0.5 / fine for side in grid)
    inside = np.zeros((len(rows), len(columns)), dtype=bool)
    for x_min, y_min, x_max, y_max in boxes:
        inside |= ((rows > y_min) & (rows < y_max))[:, None] & ((columns > x_min) & (columns < x_max))
    return inside.reshape(grid[0], PATCH * fine, grid[1], PATCH * fine).any(axis=(1, 3))


def test_patches_that_share_area_with_a_box_are_right() -> None:
    draws = np.random.default_rng(0)
    for _ in range(200):
        corners = draws.integers(0, 60, (3, 4)) / 2.0  # on half pixels, so that the lattice decides exactly
        boxes = np.concatenate(
            [np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])], 1
        )
        boxes[:, 2:] += 0.5
        np.testing.assert_array_equal(touched((5, 4), boxes, PATCH), by_pixels((5, 4), boxes))


def test_the_margin_adds_a_ring_of_patches() -> None:
    boxes = np.array([[17.0, 17.0, 20.0, 20.0]])
    assert touched((6, 6), boxes, PATCH).sum() == 1
    assert touched((6, 6), boxes, PATCH, margin=1).sum() == 9
    assert touched((6, 6), np.array([[0.0, 0.0, 3.0, 3.0]]), PATCH, margin=1).sum() == 4


def test_hit_and_chance() -> None:
    boxes, content = np.array([[8.0, 8.0, 16.0, 16.0]]), np.zeros((4, 4), dtype=bool)
    values = np.zeros((4, 4), dtype=np.float32)
    content[:2, :2] = True
    values[1, 1] = 1
    assert play(values, content, boxes, PATCH) == (True, 0.25)
    values[3, 3] = 2
    assert play(values, content, boxes, PATCH) == (False, 0.25)
    assert play(values, np.zeros_like(content), boxes, PATCH).chance == 1 / 16


def test_random_maps_hit_at_the_rate_of_chance() -> None:
    draws, boxes = np.random.default_rng(1), np.array([[0.0, 0.0, 16.0, 24.0]])
    content = np.ones((6, 6), dtype=bool)
    played = [play(draws.random((6, 6), dtype=np.float32), content, boxes, PATCH) for _ in range(2000)]
    hits = np.mean([one.hit for one in played])
    assert abs(hits - played[0].chance) < 4 * np.sqrt(1 / 6 * 5 / 6 / 2000)
    assert played[0].chance == 6 / 36


@pytest.mark.parametrize(
    ("pool", "further"),
    [
        ("attentive", {"attention rollout", "pooling attention"}),
        ("mean", {"attention rollout"}),
        ("max_score", {"patch scores"}),
    ],
)
def test_the_benchmark_plays_every_map_that_a_head_has(pool: str, further: set[str], tmp_path: Path) -> None:
    predictor = load_predictor(write_predictor(tmp_path / "model", pool=pool))
    maps = pointing_game._maps(predictor)
    assert set(maps) == {"Grad-CAM, block -1", "Grad-CAM, block -2"} | further
    patches = films(grid=(4, 5))._replace(
        values=torch.randint(0, 65536, (2, 20, 64), dtype=torch.int32).to(torch.uint16)
    )
    for make in maps.values():
        values = make(patches, 1)
        assert values.shape == (2, 20)
        assert values.isfinite().all()


def test_the_benchmark_prints_the_share_of_hits_with_its_interval() -> None:
    played = [pointing_game.Played(f"p{number // 2}", Pointed(number % 4 == 0, 0.1), True) for number in range(40)]
    line = pointing_game._share_of_hits(played)
    assert line.startswith("0.250 [0.")
    assert line.endswith("by chance 0.100  (40 films, 20 patients)")
