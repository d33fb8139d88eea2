"""Predictions of numbers and of exclusive classes: in their unit, with probabilities, in Structured Reports."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image

import mae_rad
from mae_rad.heads import MulticlassSettings, RegressionSettings
from mae_rad.heads.interface import Calibration
from mae_rad.prediction.predict import predict
from mae_rad.prediction.settings import PredictSettings
from tests.builders.dicom_builder import write_film
from tests.builders.private_builder import anatomy
from tests.builders.small_predictor import write_predictor

AGE = RegressionSettings.model_validate({
    "numbers": [{"label": "bone_age", "unit": "months"}, {"column": "age_years", "where": {"body_part": "CHEST"}}],
    "pool": "mean",
})  # fmt: skip
VIEW = MulticlassSettings.model_validate({"target": {"column": "view", "classes": ["AP", "LATERAL", "PA"]}})
LINES = {"bone_age": Calibration(40.0, 127.0), "age_years": Calibration(20.0, 50.0)}


@pytest.fixture
def films(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        where = tmp_path / "films" / f"{name}.dcm"
        write_film(where, values=anatomy(name, 96, 80), BodyPartExamined="HAND", ViewPosition="PA", window=(2048, 4096))
    return tmp_path / "films"


def _predict(
    model: Path, films: Path, out: Path, **more: Any
) -> tuple[list[dict[str, Any]], list[dict[str, str]], str]:
    """Records, rows of the table, and the printed summary."""
    values = {"out": out, "runtime": {"workers": 0, "device": "cpu"}} | more
    summary = predict(model, [films], PredictSettings.model_validate(values))
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return sorted(lines, key=lambda line: line["number"]), list(csv.DictReader(file)), summary.text


def test_numbers_have_their_unit_and_apply_to_the_films_of_where(films: Path, tmp_path: Path) -> None:
    scaled = write_predictor(tmp_path / "model", other=AGE, calibration=LINES)
    raw = write_predictor(tmp_path / "raw", other=AGE)
    records, rows, _ = _predict(scaled, films, tmp_path / "out", overlays="none")
    outputs, *_ = _predict(raw, films, tmp_path / "raw_out", overlays="none")
    for record, output, row in zip(records, outputs, rows, strict=True):
        (number,), (bare,) = record["numbers"], output["numbers"]
        assert (number["label"], number["unit"]) == ("bone_age", "months")
        assert number["value"] == pytest.approx(127 + 40 * bare["value"], rel=1e-5)
        assert float(row["bone_age (months)"]) == pytest.approx(number["value"], rel=1e-5)
        assert row["age_years"] == ""
        assert "findings" not in record
    assert records[0]["numbers"] != records[1]["numbers"]
    api = mae_rad.load_predictor(scaled).predict([films])
    assert [record.numbers[0].value for record in api] == [record["numbers"][0]["value"] for record in records]


def test_the_class_is_the_most_probable_one(films: Path, tmp_path: Path) -> None:
    model = write_predictor(tmp_path / "model", other=VIEW)
    records, rows, summary = _predict(model, films, tmp_path / "out", overlays="none")
    for record, row in zip(records, rows, strict=True):
        (answer,) = record["classes"]
        probabilities = answer["probabilities"]
        assert list(probabilities) == ["AP", "LATERAL", "PA"]
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-6)
        assert answer["predicted"] == row["predicted view"]
        assert row["view"] == "PA"  # that of the header
        assert float(row["view AP"]) == pytest.approx(probabilities["AP"], rel=1e-5)
        assert probabilities[answer["predicted"]] == max(probabilities.values())
    predicted = [record["classes"][0]["predicted"] for record in records]
    for name in ("AP", "LATERAL", "PA"):
        assert f"view: {name}".ljust(36) + f"{predicted.count(name):>8}" in summary


@pytest.mark.parametrize("task", [AGE, VIEW], ids=["numbers", "classes"])
def test_pictures_and_reports_are_written(task: Any, films: Path, tmp_path: Path) -> None:
    model = write_predictor(tmp_path / "model", other=task)
    records, *_ = _predict(model, films, tmp_path / "out", explain="none")
    for record in records:
        report = pydicom.dcmread(tmp_path / "out" / "reports" / record["report"])
        answer = record["classes"][0]["probabilities"] if task is VIEW else {}
        value = 100 * max(answer.values()) if answer else record["numbers"][0]["value"]
        assert f"{round(value, 4):g}"[:6] in str(report)
        with Image.open(tmp_path / "out" / "overlays" / record["overlay"]) as picture:
            assert len(np.unique(np.asarray(picture))) > 20


def test_a_model_of_regions_answers_whatever_region_the_header_states(films: Path, tmp_path: Path) -> None:
    region = MulticlassSettings.model_validate({"target": {"column": "body_part", "classes": ["CHEST", "RIB"]}})
    model = write_predictor(tmp_path / "model", other=region, body_parts=("CHEST", "RIB"))
    records, _, _ = _predict(model, films, tmp_path / "out", overlays="none")
    assert {(record["status"], record["reason"]) for record in records} == {("answered", "body_part_not_in_training")}
    other = write_predictor(tmp_path / "other", other=VIEW, body_parts=("CHEST", "RIB"))
    records, _, _ = _predict(other, films, tmp_path / "other_out", overlays="none")
    assert {record["status"] for record in records} == {"out_of_scope"}
