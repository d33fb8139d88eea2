"""A comparison in MLflow: runs that can be put side by side, and prepared views of them."""

import base64
import json
import sqlite3
import zlib
from dataclasses import replace

import pytest

from mae_rad.evaluation.mlflow_runs import child_runs, parent_tags, saved_views
from mae_rad.evaluation.results.queries import ComparisonResults
from mae_rad.evaluation.results.rows import RANDOM_BASELINE
from mae_rad.tracking import COLOUR_TAG, DataUsed, Tracker, address, default_uri
from tests.builders.made_comparison import FEW, TASKS, made_facts, made_rows

ASKED = TASKS[2:4]


@pytest.fixture(scope="module")
def results():
    return ComparisonResults(made_rows(ASKED, FEW, probes=["linear", "attentive"]))


@pytest.fixture(scope="module")
def runs(results):
    return child_runs(results, {"stage": "compare"}, {"mae": "ab" * 32})


def of(runs, encoder, task, subset="all"):
    (run,) = [
        one
        for one in runs
        if (one.params["encoder"], one.params["task"], one.params["subset"]) == (encoder, task, subset)
    ]
    return run


def test_there_is_a_run_per_encoder_and_task_with_the_same_params(runs):
    assert {(run.params["encoder"], run.params["task"]) for run in runs} >= {
        (name, task) for name in FEW for task in ASKED
    }
    assert len({tuple(run.params) for run in runs}) == 1


def test_metrics_are_the_numbers_of_the_table_over_training_films(results, runs):
    metrics = {(name, step): value for name, value, step in of(runs, "mae", "fracture").metrics}
    for row in results.rows:
        if (row.encoder, row.task, row.subset, row.probe_seed) != (
            "mae",
            "fracture",
            "all",
            None,
        ) or row.metric != "auroc":
            continue
        if row.probe in ("linear", "attentive") and row.reference is None:
            assert metrics[f"{row.probe}/score", row.n_train] == pytest.approx(row.interval.value, abs=5e-5)
            assert metrics[f"{row.probe}/score_low", row.n_train] == pytest.approx(row.interval.low, abs=5e-5)
        if row.probe == "linear" and row.reference == RANDOM_BASELINE:
            assert metrics["linear/gain", row.n_train] == pytest.approx(row.difference.value, abs=5e-5)
    assert metrics["linear/score_at_10_percent", 101] == metrics["linear/score", 101]
    few = {name for name, _ in metrics}
    assert len(few) <= 2 * (3 + 3 + 2 + 1), "few metric names"


def test_runs_of_one_encoder_have_one_colour_and_the_tags_to_find_them(runs):
    colours = {name: {run.tags[COLOUR_TAG] for run in runs if run.params["encoder"] == name} for name in FEW}
    assert all(len(own) == 1 for own in colours.values())
    assert len(set.union(*colours.values())) == len(FEW)
    tags = of(runs, "mae", "fracture").tags
    assert tags["probes"] == "linear, attentive"
    assert (tags["method"], tags["arm"], tags["tokens"], tags["label_fractions"]) == (
        "mae",
        "none",
        "196",
        "0.01, 0.1, 1",
    )
    assert tags["encoder_sha256"] == "ab" * 32
    assert "encoder_sha256" not in of(runs, "simclr", "fracture").tags


def test_values_that_are_not_finite_are_not_logged(results, runs):
    assert of(runs, "mae", "fracture", "body_part=HAND").params["test_patients"] == 60
    hidden = ComparisonResults([replace(row, interval=row.interval._replace(low=float("nan"))) for row in results.rows])
    names = {name for run in child_runs(hidden, {}, {}) for name, _, _ in run.metrics}
    assert "linear/score" in names and "linear/score_low" not in names


def test_draws_of_labels_are_not_mixed_with_their_mean(results):
    rows = [replace(row, probe_seed=1, interval=row.interval._replace(value=0.123)) for row in results.rows]
    assert child_runs(ComparisonResults([*results.rows, *rows]), {}, {}) == child_runs(results, {}, {})


def test_views_show_the_runs_of_this_comparison_alone(results):
    views = saved_views(results, "mine", "0" * 32)
    assert [view.name for view in views] == ["mine: all tasks", *(f"mine: {task}" for task in ASKED)]
    assert len({view.key for view in views}) == len(views)
    for view in views:
        assert view.search.startswith(f"tags.mlflow.parentRunId = '{'0' * 32}'")
    logged = {name for run in child_runs(results, {}, {}) for name, _, _ in run.metrics}
    assert {name for view in views for name in view.metrics} <= logged


def test_the_store_has_runs_inputs_views_and_the_result(tmp_path, results, runs):
    tracker = Tracker.start(default_uri(tmp_path), "compare", "mine")
    views = saved_views(results, "mine", tracker.run_id)
    links = {view.name: address(tracker.experiment, view, charts=True) for view in views}
    tracker.describe(parent_tags(made_facts(ASKED, FEW), results, links))
    tracker.views(views)
    data = [DataUsed("shards", "ab" * 32, "evaluation", {"test_films": 538})]
    tracker.inputs(data)
    tracker.children(runs[:3], data)
    tracker.finish()
    connection = sqlite3.connect(tmp_path / "mlflow.db")
    ask = lambda query: connection.execute(query).fetchall()  # noqa: E731
    assert ask("select count(*) from runs where status = 'FINISHED'") == [(4,)]
    assert {value for (value,) in ask("select value from tags where key = 'mlflow.parentRunId'")} == {tracker.run_id}
    assert ask("select name, digest from datasets") == [("shards", "ab" * 6)]
    assert ask("select count(*) from inputs") == [(4,)]
    ((note,),) = ask("select value from tags where key = 'mlflow.note.content'")
    assert "mae against simclr" in note and "do not rank the methods" in note and links["mine: fracture"] in note
    saved = dict(ask("select key, value from experiment_tags where key like 'mlflow.sharedViewState.%'"))
    connection.close()
    assert set(saved) == {f"mlflow.sharedViewState.{view.key}" for view in views}
    told = json.loads(saved[f"mlflow.sharedViewState.{views[1].key}"])
    state = json.loads(zlib.decompress(base64.b64decode(told["state"].removeprefix("deflate;"))))
    assert told["name"] == views[1].name
    assert state["orderByKey"] == "metrics.`linear/score`"
    assert [chart["type"] for chart in state["compareRunCharts"]] == ["PARALLEL", "LINE", "LINE", "BAR", "BAR"]
