"""Comparison of heads on common test films, with differences paired by patient."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from launch.compare_heads import main
from mae_rad.errors import EvaluationError
from mae_rad.finetuning.compare_heads import compare_heads, comparison_text
from mae_rad.finetuning.detection.evaluation import FILMS_FILE, FILMS_SCHEMA
from tests.builders.film_tables import film, hexed, write_public, write_run

FILMS = 200
PRESENT = np.random.default_rng(0).random(FILMS) < 0.4


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    films = [film(number, number // 2, "test") for number in range(FILMS)]
    return write_public(tmp_path_factory.mktemp("shards") / "public", films)


def _run(folder: Path, logits: np.ndarray, films: range = range(FILMS), label: str = "plate") -> Path:
    (folder / "evaluation").mkdir(parents=True)
    table = pa.table(
        {
            "key": [hexed("film", number) for number in films], "split": ["test"] * len(films),
            "label": [label] * len(films), "logit": logits[films], "present": PRESENT[films],
        }
    )  # fmt: skip
    pq.write_table(table, folder / "evaluation" / "predictions.parquet")
    return folder


def test_a_better_head_differs_from_the_reference_and_an_equal_one_does_not(public: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(size=FILMS)
    runs = {
        "weak": _run(tmp_path / "weak", noise + 0.3 * PRESENT),
        "same": _run(tmp_path / "same", 2 * noise + 0.6 * PRESENT - 1),
        "strong": _run(tmp_path / "strong", noise + 2 * PRESENT, range(20, FILMS)),
    }
    rows = {row.run: row for row in compare_heads(runs, "weak", [public]) if row.metric == "auroc"}
    assert rows["weak"].difference is None
    assert rows["weak"].value.value == pytest.approx(roc_auc_score(PRESENT[20:], (noise + 0.3 * PRESENT)[20:]))
    assert rows["same"].difference == pytest.approx((0, 0, 0), abs=1e-12)
    assert rows["strong"].difference is not None
    assert rows["strong"].difference.low > 0.1
    assert {(row.films, row.patients) for row in rows.values()} == {(180, 90)}


def test_runs_without_a_common_label_are_refused(public: Path, tmp_path: Path) -> None:
    first = _run(tmp_path / "first", np.zeros(FILMS))
    other = _run(tmp_path / "other", np.zeros(FILMS), label="fracture")
    with pytest.raises(EvaluationError, match="no label in common"):
        compare_heads({"first": first, "other": other}, "first", [public])
    with pytest.raises(EvaluationError, match="has no evaluation/predictions"):
        compare_heads({"first": first, "none": tmp_path / "none"}, "first", [public])


def test_the_command_prints_a_table(public: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [_run(tmp_path / name, np.arange(FILMS) * (1 + PRESENT)) for name in ("one", "two")]
    assert main([str(runs[0]), "--reference", str(runs[1]), f"shards={public}", "repetitions=100"]) == 0
    assert f"+0.000 [+0.000, +0.000] against {runs[1]}" in capsys.readouterr().out


def _boxes(folder: Path, hits: np.ndarray, score: float = 0.5) -> Path:
    """A detection: one box a film, on the object at (10, 10, 30, 30) where it was found, else beside it."""
    (folder / "evaluation").mkdir(parents=True)
    keys, places = [hexed("film", number) for number in range(FILMS)], np.where(hits, 10.0, 60.0)
    same = {"key": keys, "split": ["test"] * FILMS, "label": ["plate"] * FILMS}
    boxes = {"x_min": places, "y_min": places, "x_max": places + 20, "y_max": places + 20}
    pq.write_table(pa.table(same | boxes | {"score": [score] * FILMS}), folder / "evaluation" / "predictions.parquet")
    true = [[[10.0, 10.0, 30.0, 30.0]] if is_present else [] for is_present in PRESENT]
    films = pa.table(same | {"boxes": true, "unit": [1.0] * FILMS}, FILMS_SCHEMA)
    pq.write_table(films, folder / "evaluation" / FILMS_FILE)
    return folder


def test_detections_are_compared_by_their_boxes(public: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    found = {name: random.random(FILMS) < share for name, share in (("weak", 0.2), ("strong", 0.9))}
    runs = {name: _boxes(tmp_path / name, hits) for name, hits in found.items()}
    rows = {(row.run, row.metric): row for row in compare_heads(runs, "weak", [public], repetitions=200)}
    assert {metric for _, metric in rows} == {"ap50", "froc"}
    for name, hits in found.items():
        everything = (hits & PRESENT).sum() / PRESENT.sum()
        assert rows[name, "froc"].value.value <= everything
    strong = rows["strong", "froc"]
    assert strong.difference is not None and strong.difference.low > 0.1
    assert (strong.films, strong.present, strong.patients) == (FILMS, PRESENT.sum(), FILMS // 2)
    with pytest.raises(EvaluationError, match="some runs are classifications, others detections"):
        compare_heads(runs | {"scores": _run(tmp_path / "scores", np.zeros(FILMS))}, "weak", [public])


def test_films_that_one_run_was_trained_on_score_no_run(
    public: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copies = [film(f"x{n}", f"x{n}", "train", pixel_sha256=2 * hexed("pixels", n)) for n in range(3)]
    run = write_run(tmp_path / "one", [write_public(tmp_path / "elsewhere", copies)])
    logits = np.random.default_rng(1).normal(size=FILMS)
    runs = {"one": _run(run, logits), "two": _run(tmp_path / "two", logits)}
    rows = compare_heads(runs, "one", [public], repetitions=100)
    assert {(row.films, row.patients) for row in rows} == {(FILMS - 3, FILMS // 2 - 1)}
    assert "3 test films are not scored" in caplog.text


VIEWS = ("AP", "LATERAL", "OBLIQUE", "PA")


def _classes(folder: Path, y: np.ndarray, probability: np.ndarray) -> Path:
    (folder / "evaluation").mkdir(parents=True)
    columns = {
        "key": [hexed("film", number) for number in range(FILMS)], "split": ["test"] * FILMS, "label": ["view"] * FILMS,
        "class": np.array(VIEWS)[y].tolist(),
        "probability": [dict(zip(VIEWS, row, strict=True)) for row in probability.tolist()],
    }  # fmt: skip
    pq.write_table(pa.table(columns), folder / "evaluation" / "predictions.parquet")
    return folder


def test_exclusive_classes_have_all_metrics_and_those_without_a_film_are_named(public: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    y = random.choice([0, 1, 3], FILMS)
    logits = random.normal(size=(FILMS, 4))
    probability = {name: softmax(logits + strength * np.eye(4)[y], axis=1) for name, strength in (("a", 0.5), ("b", 3))}
    runs = {name: _classes(tmp_path / name, y, values) for name, values in probability.items()}
    rows = compare_heads(runs, "a", [public], repetitions=200)
    by_name = {(row.run, row.metric): row for row in rows}
    for name, values in probability.items():
        predicted = values.argmax(axis=1)
        recalls = [(predicted[y == view] == view).mean() for view in (0, 1, 3)]
        expected = {
            "balanced_accuracy": np.mean(recalls), "accuracy": accuracy_score(y, predicted),
            "log_loss": log_loss(y, values, labels=range(4)),
            "macro_auroc": np.mean([roc_auc_score(y == view, values[:, view]) for view in (0, 1, 3)]),
        }  # fmt: skip
        assert {metric: by_name[name, metric].value.value for metric in expected} == pytest.approx(expected)
        assert by_name[name, "log_loss"].value.high > by_name[name, "log_loss"].value.value
    assert by_name["a", "log_loss"].value.value > 1  # a bound of 1 would cut its interval
    assert by_name["b", "log_loss"].difference is not None and by_name["b", "log_loss"].difference.high < 0
    assert ("b", "calibration_error") in by_name
    assert comparison_text(rows, "a").splitlines()[-1] == (
        "view: no test film of OBLIQUE; means are over the other classes."
    )
