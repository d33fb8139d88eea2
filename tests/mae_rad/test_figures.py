import numpy as np
from PIL import Image

from mae_rad.evaluation.figures import _principal, draw_forest, draw_map
from mae_rad.evaluation.intervals import Interval
from mae_rad.evaluation.rows import FLOOR, Row


def row(encoder, task, probe, interval, reference=None, difference=None):
    return Row(
        encoder=encoder, method="mae", task=task, probe=probe, metric="auroc", interval=interval, reference=reference,
        difference=difference, n_films=412, n_patients=180, n_train=1604, n_train_patients=700,
    )  # fmt: skip


def rows(tasks, encoders=("mae", "simclr", FLOOR)):
    random = np.random.default_rng(0)
    out = []
    for task in tasks:
        for probe in ("linear", "knn"):
            for name in encoders:
                value = float(random.uniform(0.6, 0.95))
                interval = Interval(value, value - 0.04, min(1, value + 0.03))
                out.append(row(name, task, probe, interval))
                if name != FLOOR and FLOOR in encoders:
                    difference = Interval(value - 0.6, value - 0.65, value - 0.55)
                    out.append(row(name, task, probe, interval, FLOOR, difference))
    return out


def test_many_tasks_take_several_figures(tmp_path):
    paths = draw_forest(rows([f"task {number}" for number in range(6)]), tmp_path)
    assert [path.name for path in paths] == ["comparison-1.png", "comparison-2.png"]
    for path in paths:
        with Image.open(path) as image:
            assert image.width >= 1500
            assert len(image.convert("RGB").getcolors(1 << 20)) > 20
    assert draw_forest(rows(["one"]), tmp_path) == list(tmp_path.glob("comparison-*.png")) == paths[:1]


def test_no_floor_and_no_interval_are_drawn_too(tmp_path):
    unknown = Interval(0.7, float("nan"), float("nan"))
    lone = [row("mae", "a_very_long_name " * 4, "linear", unknown)]
    assert draw_forest(lone, tmp_path)[0].stat().st_size > 5000


def test_a_map_shows_the_planted_groups_apart(tmp_path):
    random = np.random.default_rng(0)
    classes = np.array([f"PART_{i % 9}" for i in range(600)], dtype=object)
    classes[:20] = ""
    matrix = random.normal(size=(600, 16))
    matrix[:, 0] += 6 * (np.arange(600) % 9 < 4)
    matrix[:, 1] += 6 * (np.arange(600) % 9 < 4)
    path = draw_map(
        {"mae": matrix.astype(np.float32), FLOOR: matrix[::-1].astype(np.float32)},
        classes,
        "body_part",
        tmp_path / "map.png",
    )
    assert path.stat().st_size > 20_000
    points, explained = _principal(matrix.astype(np.float32))
    standard = (matrix - matrix.mean(0)) / matrix.std(0)
    singular = np.linalg.svd(standard, compute_uv=False)
    np.testing.assert_allclose(explained, (singular**2 / (singular**2).sum())[:2], rtol=1e-4)
    group = np.arange(600) % 9 < 4
    assert abs(points[group, 0].mean() - points[~group, 0].mean()) > 2
