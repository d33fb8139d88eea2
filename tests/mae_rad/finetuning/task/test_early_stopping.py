"""The rule of early stopping, and the metrics that it may name."""

import math
from pathlib import Path

import pytest

from data_prep.settings import load
from mae_rad.errors import SettingsError
from mae_rad.finetuning.task.early_stopping import EarlyStoppingSettings, as_score, is_lower_better, is_out_of_patience
from mae_rad.finetuning.task.settings import FinetuneSettings
from tests.builders.tiny_finetuning import arguments


@pytest.mark.parametrize(
    ("scores", "patience", "min_delta", "ends"),
    [
        ([], 1, 0.0, False),
        ([0.5], 1, 0.0, False),
        ([0.5, 0.5], 1, 0.0, True),
        ([0.5, 0.4, 0.6], 2, 0.0, False),
        ([0.5, 0.4, 0.3], 2, 0.0, True),
        ([0.5, 0.55, 0.59], 2, 0.1, True),  # small steps that never add up to an improvement from one to the next
        ([0.5, 0.55, 0.61], 2, 0.1, False),  # the best is that of the last improvement
        ([math.nan, math.nan], 2, 0.0, True),
        ([0.5, math.nan, 0.6], 2, 0.0, False),
        ([-0.7, -0.6, -0.65], 2, 0.0, False),
    ],
)
def test_patience_counts_validations_since_the_last_improvement(
    scores: list[float], patience: int, min_delta: float, ends: bool
) -> None:
    settings = EarlyStoppingSettings(metric="auroc", patience=patience, min_delta=min_delta)
    assert is_out_of_patience(scores, settings) is ends


def test_losses_and_errors_improve_as_they_fall() -> None:
    assert is_lower_better("val/loss/object") and is_lower_better("log_loss")
    assert not is_lower_better("auroc/loss")
    assert as_score("mean_absolute_error/bone_age", 8.0) == -8.0
    assert as_score("auroc", 0.8) == 0.8


def test_a_metric_that_is_not_logged_is_refused_and_those_that_are_stand_there(tmp_path: Path) -> None:
    words = arguments(tmp_path, tmp_path / "run", "early_stopping={metric: balanced_accuracy, patience: 2}")
    with pytest.raises(SettingsError, match=r"balanced_accuracy is not logged.*auroc, average_precision, loss, auroc/"):
        load(FinetuneSettings, Path(words[1]), words[2:])


def test_a_run_without_it_has_the_identity_of_earlier_releases(tmp_path: Path) -> None:
    words = arguments(tmp_path, tmp_path / "run")
    assert "early_stopping" not in load(FinetuneSettings, Path(words[1]), words[2:]).results()
    words.append("early_stopping={metric: auroc, patience: 2}")
    settings = load(FinetuneSettings, Path(words[1]), words[2:])
    assert settings.results()["early_stopping"] == {"metric": "auroc", "patience": 2, "min_delta": 0.0}
