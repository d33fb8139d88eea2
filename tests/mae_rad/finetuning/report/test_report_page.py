"""The page of a finetuning: what the run folder says with intervals and n, nothing loaded, nobody named."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from PIL import Image

from mae_rad.errors import WeightsError
from mae_rad.finetuning.report.report_page import write_page
from mae_rad.finetuning.results.metrics_table import Result, write_results
from tests.builders.small_predictor import LABELS, write_predictor

SETTINGS = {
    "start_from": "/secret/place/runs/mae",
    "optimizer": {"steps": 100, "batch": 8},
    "adaptation": {"encoder": "frozen"},
    "data": {"label_fraction": 0.1},
    "evaluation": {"repetitions": 100},
}
EVIL = "<script>alert(1)</script>"


def _result(label, split, metric, value, *, point="", subset="all", wide=0.1, patients=200):
    return Result(label, split, subset, metric, point, value, value - wide, value + wide, 412, patients, 77)


def _results(test=True, patients=200):
    splits = ("val", "test") if test else ("val",)
    return [
        row
        for split in splits
        for label, auroc in zip(LABELS, (0.85, 0.55), strict=True)
        for row in (
            _result(label, split, "auroc", auroc, patients=patients),
            _result(label, split, "calibration_error", 0.04),
            _result(label, split, "sensitivity", 0.7 if label == "fracture" else 0.85, point="sensitivity_90"),
            _result(label, split, "specificity", 0.66, point="sensitivity_90"),
            _result(label, split, "auroc", 0.77, subset="body_part=HAND"),
        )
    ]


@pytest.fixture
def run(tmp_path):
    write_predictor(tmp_path / "predictor")
    card = json.loads((tmp_path / "predictor" / "predictor.json").read_text())
    card["provenance"] = {"train_films": 1234, "train_patients": 567, "test_films": 412, "best_step": 40}
    card["provenance"] |= {"dataset_sha256": "d" * 64}
    card["scope"]["answers"] = {"fracture": {"present": 321, "absent": 913, "uncertain": 0}}
    card["scope"]["views"] = {EVIL: 5}
    (tmp_path / "predictor" / "predictor.json").write_text(json.dumps(card))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    lines = [{"step": step, "loss": 1 / step, "learning_rate": 0.1} for step in (20, 40, 60)]
    lines += [{"step": step, "val/auroc": 0.6, "val/auroc/fracture": 0.5} for step in (20, 40)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    write_results(_results(), evaluation / "results.parquet")
    (evaluation / "results.txt").write_text("table\n\n95 % intervals over patients.\nval: left out 3 not labelled.\n")
    for name in ("curves.png", "films-fracture.png"):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(evaluation / name)
    return tmp_path


def _words(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


class _Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_has_the_counts_metrics_and_points_of_the_run(run):
    page = write_page(run).read_text(encoding="utf-8")
    text = _words(page)
    for part in (
        "1,234 (567)", "321 present, 913 absent (training films)", "40 of 100",
        "labels of 10 % of the training patients",
        "AUROC 0.850 [0.750, 0.950] on 412 test films of 200 patients, 77 with the finding", "kept as it was (frozen)",
        "0.660 [0.560, 0.760]", "90 % sensitivity on val", "0.500", "body part: HAND", "val: left out 3 not labelled.",
    ):  # fmt: skip
        assert part in text, part
    assert (run / "evaluation" / "learning_curves.png").stat().st_size > 1000
    assert page.count('src="data:image/png;base64,') == 3


def test_the_page_warns_of_chance_and_of_a_missed_sensitivity(run):
    text = _words(write_page(run).read_text(encoding="utf-8"))
    assert (
        "foreign_object is not shown to be better than chance: AUROC 0.550 [0.450, 0.650] on 412 test films: the"
        " interval includes chance (0.5)." in text
    )
    assert "fracture is not shown" not in text
    assert "fracture: the threshold for 90 % sensitivity on val has 0.700 [0.600, 0.800] on test films" in text
    assert "foreign_object: the threshold" not in text
    assert "a longer training" not in text and "test patients: the intervals" not in text


def test_a_run_without_test_films_says_that_its_figures_are_too_good(run):
    card = json.loads((run / "predictor" / "predictor.json").read_text())
    card["provenance"] |= {"test_films": 0, "best_step": 100}
    (run / "predictor" / "predictor.json").write_text(json.dumps(card))
    write_results(_results(test=False), run / "evaluation" / "results.parquet")
    text = _words(write_page(run).read_text(encoding="utf-8"))
    assert "There are no test films. All figures are of val" in text
    assert "412 val films" in text and "412 test films" not in text
    assert "a longer training (optimizer.steps) may be better" in text


def test_few_test_patients_are_said(run):
    write_results(_results(patients=12), run / "evaluation" / "results.parquet")
    assert "Only 12 test patients" in _words(write_page(run).read_text(encoding="utf-8"))


def test_the_page_is_self_contained_and_names_no_place(run):
    page = write_page(run).read_text(encoding="utf-8")
    parsed = _Tags(page)
    assert parsed.open == []
    assert not {tag for tag, _ in parsed.tags} & {"script", "link", "iframe", "object", "form", "base"}
    for _, attributes in parsed.tags:
        assert attributes.get("src", "data:image/").startswith("data:image/")
        assert attributes.get("href", "#").startswith("#")
    assert "&lt;script&gt;" in page
    assert "/secret" not in page and str(run) not in page


def test_a_run_that_has_not_finished_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="finished finetuning"):
        write_page(tmp_path)
