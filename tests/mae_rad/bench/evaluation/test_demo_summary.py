"""The summary of a demonstration says what the results say: floors, intervals, verdicts, right predictions."""

import csv
import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mae_rad.bench.evaluation.demo_summary import agreement, main
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.comparison.candidates import Candidate
from mae_rad.evaluation.comparison.floors_and_ceilings import with_floors_and_ceilings
from mae_rad.evaluation.results.rows import RANDOM_BASELINE, RAW_PIXELS, write_comparison
from mae_rad.evaluation.statistics.intervals import Interval
from tests.builders.made_comparison import made_rows

METHODS = {"mae": "mae", "simclr": "simclr", RAW_PIXELS: "pca", RANDOM_BASELINE: "random"}
TASKS = ("growth_plates", "foreign_object")
LEVELS = {"mae": 0.81, "simclr": 0.62, RAW_PIXELS: 0.55, RANDOM_BASELINE: 0.6}


@pytest.fixture
def demo(tmp_path):
    """MAE is above both floors for growth plates only, SimCLR for none."""
    rows = []
    for made in made_rows(TASKS, METHODS, probes=["linear"], fractions=(1.0,)):
        if (made.metric, made.probe, made.subset) != ("auroc", "linear", "all"):
            continue
        row = replace(made, interval=Interval(LEVELS[made.encoder], 0, 1))
        if made.reference is not None:
            is_better = (made.encoder, made.task) == ("mae", "growth_plates")
            size = LEVELS[made.encoder] - LEVELS[made.reference]
            half = 0.05 if is_better else 0.4
            row = replace(
                row, difference=Interval(size, size - half, size + half), p_value=1e-4 if is_better else 0.5,
                verdict="higher" if is_better else "no difference shown",
            )  # fmt: skip
        rows.append(row)
    candidates = [Candidate(name, kind, name) for name, kind in METHODS.items()]
    (tmp_path / "runs" / "comparison").mkdir(parents=True)
    (tmp_path / "runs" / "mae" / "encoder").mkdir(parents=True)
    write_comparison(
        with_floors_and_ceilings(rows, candidates), tmp_path / "runs" / "comparison" / "comparison.parquet"
    )
    _write_head(tmp_path / "runs" / "head")
    _write_answers(tmp_path / "answers", tmp_path / "truth")
    return tmp_path


def _write_head(run):
    (run / "evaluation").mkdir(parents=True)
    figures = [("val", "auroc", 0.5), ("test", "auroc", 0.934), ("test", "average_precision", 0.512)]
    rows = [
        {"label": "effusion", "split": split, "subset": "all", "metric": metric, "value": value,
         "low": value - 0.02, "high": value + 0.02}
        for split, metric, value in figures
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), run / "evaluation" / "results.parquet")


def _write_answers(folder, truth):
    """Two of three known films are right; a film without the question and one that could not be read do not count."""
    folder.mkdir()
    truth.mkdir()
    films = [{"path": f"a/{n}", "kind": "film", "sop_instance_uid": f"2.{n}"} for n in range(1, 5)]
    films.append({"path": "a/5", "kind": "truncated", "sop_instance_uid": "2.5"})
    (truth / "truth.jsonl").write_text("\n".join(map(json.dumps, films)), encoding="utf-8")
    values = [("2.1", "present"), ("2.2", "present"), ("2.3", "absent")]
    labels = [{"sop_instance_uid": uid, "label": "effusion", "value": value} for uid, value in values]
    labels.append({"sop_instance_uid": "2.4", "label": "fracture", "value": "present"})
    _write_csv(truth / "labels.csv", labels)
    answers = [("a/1", 0.9), ("a/2", 0.1), ("a/3", 0.2), ("a/4", 0.7), ("a/5", "")]
    _write_csv(folder / "predictions.csv", [{"path": f"/archive/{path}", "effusion": score} for path, score in answers])


def _write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def _printed(demo, capsys, *more):
    runs = demo / "runs"
    places = ["--head", str(runs / "head"), "--predictions", str(demo / "answers"), "--truth", str(demo / "truth")]
    assert main([str(runs / "comparison"), *places, *more]) == 0
    return capsys.readouterr().out


def test_scores_stand_beside_floors_with_the_difference_to_the_better_one(demo, capsys):
    lines = _printed(demo, capsys).splitlines()
    (plates,) = (line.split() for line in lines if line.startswith("growth plates"))
    assert plates[3:5] == ["0.60", "0.55"]  # random weights, raw pixels
    assert " ".join(plates[6:]) == "mae 0.81 +0.21 [+0.16, +0.26] above both"
    assert any("simclr" in line and "+0.02 [−0.38, +0.42]" in line and "not shown" in line for line in lines)
    assert "mae is shown to be above random weights and raw pixels for 1 of 2 questions (growth plates)." in lines
    assert "simclr is shown to be above random weights and raw pixels for 0 of 2 questions." in lines


def test_the_longer_demonstration_is_named_only_on_request(demo, capsys):
    assert "may show more: make more" in _printed(demo, capsys, "--longer", "make more")
    assert "may show more" not in _printed(demo, capsys)


def test_the_head_and_its_predictions_are_summarised(demo, capsys):
    text = _printed(demo, capsys)
    assert "Finetuned with labels, AUROC on test films: effusion 0.93 [0.91, 0.95]" in text
    assert "Predictions of new films that are right: effusion 2 of 3\n" in text


def test_the_summary_fits_one_screen(demo, capsys):
    assert len(_printed(demo, capsys).splitlines()) <= 24


def test_the_truth_of_another_archive_is_refused(demo):
    (demo / "truth" / "truth.jsonl").write_text('{"path": "b/1", "kind": "film", "sop_instance_uid": "2.1"}\n')
    with pytest.raises(EvaluationError, match="is not the truth of the films"):
        agreement(demo / "answers", demo / "truth")
