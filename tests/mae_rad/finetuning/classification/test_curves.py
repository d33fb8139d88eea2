"""Figures of a comparison show the values of their rows, in files and in pages, and identify no patient."""

import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from data_prep.pages.plot_style import COLOURS, SOFT
from mae_rad.evaluation.figures.all_figures import draw_numbers
from mae_rad.evaluation.figures.curves import by_size, label_efficiency
from mae_rad.evaluation.figures.embedding_map import draw_map, nameable, principal
from mae_rad.evaluation.figures.forest import PER_FIGURE, draw_values, pair_forest, values_forests
from mae_rad.evaluation.figures.neighbour_sheet import FilmNeighbours, neighbour_sheet, sample_rows
from mae_rad.evaluation.figures.similarity import similarity_matrix
from mae_rad.evaluation.figures.style import as_svg, encoder_styles
from mae_rad.evaluation.results.queries import ComparisonResults
from mae_rad.evaluation.results.rows import RANDOM_BASELINE
from mae_rad.evaluation.statistics.intervals import Interval
from tests.builders.made_comparison import FEW, TASKS, made_rows


def reading(tasks=TASKS[2:4], **more):
    return ComparisonResults(made_rows(tasks, FEW, **{"probes": ["linear"], "fractions": [0.1, 1.0], **more}))


def texts(figure):
    return re.findall(r"<text[^>]*>([^<]*)</text>", as_svg(figure, "figure"))


def test_many_tasks_take_several_figures_and_old_ones_are_removed(tmp_path):
    tasks = [f"task {number}" for number in range(PER_FIGURE + 1)]
    paths = draw_values(reading(tasks), tmp_path)
    assert [path.name for path in paths] == ["values-1.png", "values-2.png"]
    with Image.open(paths[0]) as image:
        assert image.width >= 1500
        assert len(image.convert("RGB").getcolors(1 << 20)) > 20
    assert draw_values(reading(), tmp_path) == list(tmp_path.glob("values-*.png")) == paths[:1]


def test_every_kind_of_rows_has_a_figure(tmp_path):
    names = {path.name for path in draw_numbers(reading(), tmp_path / "figures")}
    assert names == {
        "values-1.png", "difference-mae-simclr.png", "label-efficiency-linear.png", "size-linear.png", "similarity.png",
    }  # fmt: skip


def test_a_forest_plot_shows_the_differences_of_its_rows():
    rows = reading()
    drawn = texts(pair_forest(rows, "mae", "simclr", "none"))
    for row in rows.differences():
        if row.reference == "simclr":
            value, low, high = (f"{x:+.3f}".replace("-", "−") for x in row.difference)
            assert f"{value} [{low}, {high}]" in drawn
            assert f"{row.interval.value - row.difference.value:.3f}" in drawn
    assert "difference, mae minus simclr, 95 % interval over patients" in drawn


def test_long_names_of_groups_fit_on_the_forest_plot():
    names = "MAE, published settings", "SimCLR, same arithmetic"
    renamed = {"mae": names[0], "simclr": names[1]}
    rows = ComparisonResults(
        [
            replace(
                row, encoder=renamed.get(row.encoder, row.encoder), reference=renamed.get(row.reference, row.reference)
            )
            for row in reading().rows
        ]
    )
    figure = pair_forest(rows, *names, "none")
    FigureCanvasAgg(figure).draw()
    heads = [text for text in figure.axes[0].texts if text.get_color() == SOFT and "\n" in text.get_text()]
    assert len(heads) == 2
    first, second = (text.get_window_extent() for text in heads)
    assert first.x1 < second.x0
    assert all(
        figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1 for box in (first, second)
    )


def test_values_without_random_baseline_or_interval_are_drawn():
    unknown = Interval(0.7, float("nan"), float("nan"))
    first = next(row for row in reading().values() if row.encoder == "mae")
    lone = replace(first, interval=unknown, task="a_very_long_name " * 4)
    assert "0.700" in texts(values_forests(ComparisonResults([lone]), ["linear"])[0])
    pair = next(row for row in reading().differences() if row.reference == "simclr")
    assert "−0.100 [no interval]" in texts(
        pair_forest(
            ComparisonResults([replace(pair, difference=Interval(-0.1, float("nan"), float("nan")))]),
            "mae",
            "simclr",
            "none",
        )
    )


def test_curves_are_over_training_films_and_only_where_there_are_several():
    drawn = texts(label_efficiency(reading(), "linear"))
    assert "training films" in drawn
    assert {"101", "1,012"} <= set(drawn)
    assert label_efficiency(reading(fractions=[1.0]), "linear") is None
    several = made_rows(TASKS[:1], FEW, probes=["linear"], fractions=[1.0])
    sizes = [
        replace(row, tokens=tokens, subset="all") for row in several if row.probe == "linear" for tokens in (196, 1024)
    ]
    assert {"196", "1,024"} <= set(texts(by_size(ComparisonResults(sizes), "linear")))


def test_encoders_can_be_distinguished_without_colour():
    styles = encoder_styles([*"abcdefg", RANDOM_BASELINE])
    assert len({style["marker"] for name, style in styles.items() if name != RANDOM_BASELINE}) == 7
    assert set(COLOURS) <= {
        "#0072B2",
        "#D55E00",
        "#009E73",
        "#CC79A7",
        "#E69F00",
        "#56B4E9",
        "#000000",
    }  # Okabe and Ito


def test_similarity_is_symmetric_and_one_on_the_diagonal():
    rows = [row for row in made_rows(TASKS[:1], FEW) if row.metric == "linear_cka"]
    drawn = texts(similarity_matrix(rows))
    assert drawn.count("1.00") == 3
    for row in rows:
        assert drawn.count(f"{row.interval.value:.2f}") >= 2
    assert similarity_matrix([]) is None


@pytest.fixture
def planted():
    random = np.random.default_rng(0)
    classes = np.array([f"PART_{i % 9}" for i in range(600)], dtype=object)
    classes[:20] = ""
    matrix = random.normal(size=(600, 16))
    matrix[:, :2] += 6 * (np.arange(600) % 9 < 4)[:, None]
    return classes, matrix.astype(np.float32)


def test_a_map_separates_the_planted_groups(tmp_path, planted):
    classes, matrix = planted
    path = draw_map(
        {"mae": matrix, RANDOM_BASELINE: matrix[::-1]},
        classes,
        np.arange(600),
        "body part",
        tmp_path / "map.png",
        min_patients=10,
    )
    assert path.stat().st_size > 20_000
    points, explained = principal(matrix)
    standard = (matrix - matrix.mean(0)) / matrix.std(0)
    singular = np.linalg.svd(standard, compute_uv=False)
    np.testing.assert_allclose(explained, (singular**2 / (singular**2).sum())[:2], rtol=1e-4)
    group = np.arange(600) % 9 < 4
    assert abs(points[group, 0].mean() - points[~group, 0].mean()) > 2


def test_a_value_of_few_patients_is_not_named_on_a_map(tmp_path, planted):
    classes, matrix = planted
    patients = np.arange(600)
    patients[classes == "PART_3"] = 7  # many films of one patient
    assert "PART_3" not in nameable(classes, patients, 10)
    assert draw_map({"mae": matrix}, classes, np.zeros(600, int), "x", tmp_path / "none.png", min_patients=10) is None
    assert not (tmp_path / "none.png").exists()


def test_a_sheet_of_neighbours_shows_the_nearest_films(tmp_path):
    films = np.full((6, 40, 20), 0, dtype=np.uint16) + (np.arange(6, dtype=np.uint16) * 10_000)[:, None, None]
    found = [FilmNeighbours(0, [3, 5], [0.9, 0.1])]
    asked = []
    path = neighbour_sheet(
        "mae", found, lambda row: asked.append(row) or films[row], ["HAND PA"] * 6, tmp_path / "sheet.png", films=6
    )
    assert asked == [0, 3, 5]
    with Image.open(path) as image:
        greys = set(np.unique(np.asarray(image.convert("L"))).tolist())
    assert {round(30_000 / 257), round(50_000 / 257)} <= greys


def test_sample_films_are_as_diverse_as_possible():
    captions = ["HAND"] * 50 + ["KNEE"] * 3 + ["CHEST"]
    chosen = sample_rows(captions, np.arange(54), 6)
    assert {captions[row] for row in chosen[:3]} == {"HAND", "KNEE", "CHEST"}
    assert len(set(chosen)) == 6


def test_the_style_of_a_figure_does_not_affect_the_page():
    svg = as_svg(pair_forest(reading(), "mae", "simclr", "none"), 'a "<b>" & c')
    assert svg.startswith('<svg viewBox="0 0 ')
    assert 'aria-label="a &quot;&lt;b&gt;&quot; &amp; c"' in svg
    assert "<style" not in svg and "metadata" not in svg and "http" not in svg and not re.search(r'<g id="', svg)
