"""Heat maps in the pictures of predictions."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mae_rad.encoders.timm_encoder import TimmSettings
from mae_rad.errors import PredictionError
from mae_rad.prediction import prediction_writer
from mae_rad.prediction.overlay import HeatMap
from tests.builders.small_predictor import write_predictor
from tests.mae_rad.prediction.test_predict import hand, run_predict, table


@pytest.mark.parametrize("explain", ["grad_cam", "attention_rollout", "none"])
def test_every_explanation_draws_a_heat_map(explain: str, tmp_path: Path) -> None:
    hand(tmp_path / "films" / "hand.dcm", "hand")
    model = write_predictor(tmp_path / "model", points={"low": {"fracture": 0.0}})
    run_predict(model, [tmp_path / "films"], tmp_path / "out", explain=explain, reports=False)
    with Image.open(tmp_path / "out" / "overlays" / "000001.png") as picture:
        page = np.asarray(picture).astype(int)
    coloured = np.ptp(page[60:170], axis=-1).max()  # rows of the film, above the table: it is grey, a heat map is not
    assert (coloured > 50) == (explain != "none")


@pytest.mark.parametrize("explain", ["grad_cam", "attention_rollout"])
def test_heat_maps_use_the_windows_of_the_model(explain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"mae_rad.explain.{explain}")
    original, windows = getattr(module, explain), []

    def seen(*given: Any, **named: Any) -> Any:
        windows.append(named.get("window"))
        return original(*given, **named)

    monkeypatch.setattr(module, explain, seen)
    hand(tmp_path / "films" / "hand.dcm", "hand")
    model = write_predictor(tmp_path / "model", points={"low": {"fracture": 0.0}}, window=4)
    run_predict(model, [tmp_path / "films"], tmp_path / "out", explain=explain, reports=False)
    assert windows == [4]
    whole = write_predictor(tmp_path / "whole", points={"low": {"fracture": 0.0}})
    run_predict(whole, [tmp_path / "films"], tmp_path / "out whole", explain=explain, reports=False)
    (windowed,), (whole_film,) = table(tmp_path / "out"), table(tmp_path / "out whole")
    assert windowed["fracture"] != whole_film["fracture"]  # the same weights, with attention within windows


def test_a_resnet_warns_that_there_are_no_heat_maps(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hand(tmp_path / "films" / "hand.dcm", "hand")
    model = write_predictor(
        tmp_path / "model", points={"low": {"fracture": 0.0}}, encoder=TimmSettings(timm="test_resnet")
    )
    for explain, warnings in (("grad_cam", 1), ("none", 0)):
        caplog.clear()
        run_predict(model, [tmp_path / "films"], tmp_path / explain, explain=explain, reports=False)
        assert caplog.text.count("no heat maps") == warnings
        assert (tmp_path / explain / "overlays" / "000001.png").is_file()


def test_the_heat_map_of_max_score_shows_the_scores_of_patches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps: list[HeatMap] = []
    draw = prediction_writer.draw_overlay

    def seen(*given: Any) -> Any:
        maps.extend(given[3])
        return draw(*given)

    monkeypatch.setattr(prediction_writer, "draw_overlay", seen)
    hand(tmp_path / "films" / "hand.dcm", "hand")
    model = write_predictor(tmp_path / "model", points={"low": {"fracture": 0.0}}, pool="max_score")
    with pytest.raises(PredictionError, match="Leave explain out"):
        run_predict(model, [tmp_path / "films"], tmp_path / "rollout", explain="attention_rollout", reports=False)
    assert not (tmp_path / "rollout").exists()
    run_predict(model, [tmp_path / "films"], tmp_path / "out", reports=False)
    (row,) = table(tmp_path / "out")
    (shown,) = [one for one in maps if "fracture" in one.title]
    assert shown.values.max() == pytest.approx(float(row["fracture"]), abs=1e-4)
    assert shown.values.min() < shown.values.max()
