"""Wherever a prediction stands, it says beside it that its model is not shown to be better than chance."""

from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

import mae_rad
from mae_rad.export.predictor_folder import load_predictor
from mae_rad.heads import RegressionSettings
from mae_rad.prediction.mlflow_predictor import ServedPredictor
from tests.builders.small_predictor import write_predictor
from tests.mae_rad.prediction.test_predict import hand, records, run_predict, table

WHY = "AUROC 0.550 [0.450, 0.650] on 40 test films: the interval includes chance (0.5)"
WARNING = f"fracture is not shown to be better than chance: {WHY}"


def test_table_records_picture_screen_and_documents_warn(tmp_path: Path) -> None:
    hand(tmp_path / "films" / "1.dcm", "a")
    where = {"fracture": {"body_part": ["HAND", "CHEST"]}}
    warned = write_predictor(tmp_path / "warned", chance_warnings={"fracture": WHY}, where=where)
    sure = write_predictor(tmp_path / "sure", where=where)
    out, other = tmp_path / "out", tmp_path / "other"
    summary = run_predict(warned, [tmp_path / "films"], out, explain="none")
    assert f"WARNING: {WARNING} (1 films)" in summary.text.splitlines()
    assert "WARNING" not in run_predict(sure, [tmp_path / "films"], other, explain="none").text
    assert table(out)[0]["warnings"] == WARNING and table(other)[0]["warnings"] == ""
    assert records(out)["1.dcm"]["warnings"] == [WARNING] and "warnings" not in records(other)["1.dcm"]
    with Image.open(out / "overlays" / "000001.png") as picture, Image.open(other / "overlays" / "000001.png") as bare:
        assert picture.height > bare.height
        orange = (np.asarray(picture) == (255, 140, 90)).all(axis=-1)
        assert orange[:100].sum() > 500
        assert not (np.asarray(bare) == (255, 140, 90)).all(axis=-1).any()
    state = pydicom.dcmread(out / "presentation_states" / records(out)["1.dcm"]["state"])
    (annotation,) = state.GraphicAnnotationSequence
    assert f"WARNING: {WARNING.partition(' on ')[0]}" in annotation.TextObjectSequence[0].UnformattedTextValue
    report = pydicom.dcmread(out / "reports" / "000001.dcm")
    assert "Not shown above chance: AUROC 0.550 [0.450, 0.650]" in str(report)
    assert (tmp_path / "warned" / "README.md").read_text().count("not shown to be better than chance") == 1


def test_a_film_that_a_label_is_not_asked_for_has_no_warning_of_it(tmp_path: Path) -> None:
    hand(tmp_path / "films" / "1.dcm", "a")
    where = {"fracture": {"body_part": "CHEST"}}
    model = write_predictor(tmp_path / "model", chance_warnings={"fracture": WHY}, where=where)
    run_predict(model, [tmp_path / "films"], tmp_path / "out", overlays="none", reports=False)
    assert table(tmp_path / "out")[0]["warnings"] == ""


def test_python_and_server_hand_the_warning_on(tmp_path: Path) -> None:
    hand(tmp_path / "1.dcm", "a")
    model = write_predictor(tmp_path / "model", chance_warnings={"fracture": WHY})
    (record,) = mae_rad.load_predictor(model).predict([tmp_path / "1.dcm"])
    assert record.warnings == (WARNING,)
    (answer,) = ServedPredictor(load_predictor(model)).predict({"file": [(tmp_path / "1.dcm").read_bytes()]})
    assert answer["warnings"] == [WARNING] and "state" not in answer


def test_numbers_have_presentation_states_and_warnings_too(tmp_path: Path) -> None:
    hand(tmp_path / "films" / "1.dcm", "a")
    task = RegressionSettings.model_validate({"numbers": [{"label": "bone_age", "unit": "months"}]})
    why = {"bone_age": "R² 0.100 [-0.100, 0.300] on 40 test films: the interval includes chance (0)"}
    model = write_predictor(tmp_path / "model", other=task, chance_warnings=why)
    run_predict(model, [tmp_path / "films"], tmp_path / "out", overlays="none")
    record = records(tmp_path / "out")["1.dcm"]
    state = pydicom.dcmread(tmp_path / "out" / "presentation_states" / record["state"])
    text = state.GraphicAnnotationSequence[0].TextObjectSequence[0].UnformattedTextValue
    assert "\r\nbone_age: " in text and "R² 0.100" in text
    report = pydicom.dcmread(tmp_path / "out" / "reports" / record["report"])
    assert "bone_age" in str(report) and "R² 0.100" in str(report)


def test_without_presentation_states_none_are_written(tmp_path: Path) -> None:
    hand(tmp_path / "films" / "1.dcm", "a")
    model = write_predictor(tmp_path / "model")
    run_predict(model, [tmp_path / "films"], tmp_path / "out", overlays="none", presentation_states=False)
    assert not list((tmp_path / "out" / "presentation_states").iterdir())
    assert "state" not in records(tmp_path / "out")["1.dcm"] and "report" in records(tmp_path / "out")["1.dcm"]
