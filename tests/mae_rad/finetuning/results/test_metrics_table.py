"""Metrics and thresholds against scikit-learn; subgroups."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, confusion_matrix, log_loss, roc_auc_score

from data_prep.shard_format.rare_values import MIN_PATIENTS
from mae_rad.finetuning.results.metrics_table import (
    LabelScores,
    Subgroup,
    decision_results,
    score_results,
    threshold_for,
)
from mae_rad.finetuning.results.subgroups import subgroups
from mae_rad.heads.interface import Calibration

LINE = Calibration(0.7, -0.2)
SUBGROUP = Subgroup("fracture", "test", repetitions=200)


def _scores(films: int = 300) -> LabelScores:
    random = np.random.default_rng(0)
    present = random.random(films) < 0.3
    logits = np.round(random.normal(0, 1, films) + present, 1)
    return LabelScores(np.arange(films), logits, present, np.arange(films) // 2)


def _probability(scores: LabelScores) -> np.ndarray:
    return 1 / (1 + np.exp(-(LINE.slope * scores.logits + LINE.offset)))


def test_scores_are_those_of_scikit_learn() -> None:
    scores = _scores()
    values = {result.metric: result.value for result in score_results(scores, LINE, SUBGROUP)}
    probability, raw = _probability(scores), 1 / (1 + np.exp(-scores.logits))
    assert values["auroc"] == pytest.approx(roc_auc_score(scores.present, scores.logits))
    assert values["average_precision"] == pytest.approx(average_precision_score(scores.present, scores.logits))
    assert values["brier"] == pytest.approx(brier_score_loss(scores.present, probability))
    assert values["log_loss"] == pytest.approx(log_loss(scores.present, probability))
    assert values["log_loss_uncalibrated"] == pytest.approx(log_loss(scores.present, raw))


def test_decisions_are_those_of_a_confusion_matrix() -> None:
    scores = _scores()
    results = decision_results(scores, LINE, {"somewhere": 0.4}, SUBGROUP)
    values = {result.metric: result.value for result in results}
    tn, fp, fn, tp = confusion_matrix(scores.present, _probability(scores) >= 0.4).ravel()
    assert values == pytest.approx(
        {
            "sensitivity": tp / (tp + fn),
            "specificity": tn / (tn + fp),
            "positive_predictive_value": tp / (tp + fp),
            "negative_predictive_value": tn / (tn + fn),
        }
    )
    assert all(result.low <= result.value <= result.high for result in results)
    assert {(result.n_films, result.n_patients, result.n_present) for result in results} == {
        (300, 150, scores.present.sum())
    }


@pytest.mark.parametrize("sensitivity", [0.5, 0.9, 0.95, 1.0])
def test_a_threshold_has_its_sensitivity_and_a_higher_one_has_less(sensitivity: float) -> None:
    scores = _scores()
    probability = _probability(scores)
    threshold = threshold_for(sensitivity, probability, scores.present)
    assert (probability[scores.present] >= threshold).mean() >= sensitivity
    assert (probability[scores.present] > threshold * 1.0001).mean() < sensitivity
    assert threshold not in probability  # float32 would round a film that stands on it to either side


def test_films_of_one_class_have_no_auroc_and_two_of_four_decision_metrics() -> None:
    scores = _scores()
    absent = scores.select(~scores.present)
    assert score_results(absent, LINE, SUBGROUP) == []
    values = {result.metric: result.value for result in decision_results(absent, LINE, {"x": 0.4}, SUBGROUP)}
    assert np.isnan(values["sensitivity"])
    assert 0 < values["specificity"] < 1


def test_rare_values_are_reported_together() -> None:
    patients = np.arange(60)
    films = pa.table(
        {
            "body_part": ["HAND"] * 40 + ["KNEE"] * 14 + ["SKULL"] * 4 + [None] * 2,
            "view": ["PA"] * 60,
            "sex": ["F"] * 30 + [None] * 30,
            "age_years": [90] * 20 + [30] * 20 + [None] * 20,
        }
    )
    parts = dict(subgroups(films, patients))
    sizes = {name: int(mask.sum()) for name, mask in parts.items()}
    assert sizes == {
        "body_part=HAND": 40, "body_part=KNEE": 14, "body_part=other": 6, "view=PA": 60,
        "sex=F": 30, "sex=unknown": 30, "age=80+": 20, "age=18-39": 20, "age=unknown": 20,
    }  # fmt: skip
    one_patient = dict(subgroups(films, np.zeros(60, np.int64)))
    assert MIN_PATIENTS > 1
    assert set(one_patient) == {"body_part=other", "view=other", "sex=other", "age=other"}


def _found(present: list[bool], logits: list[float], patients: list[int]) -> dict[str, tuple[float, float, float]]:
    scores = LabelScores(np.arange(len(present)), np.array(logits), np.array(present), np.array(patients))
    results = [*score_results(scores, LINE, SUBGROUP), *decision_results(scores, LINE, {"x": 0.5}, SUBGROUP)]
    return {result.metric: (result.value, result.low, result.high) for result in results}


def test_all_of_few_is_not_certain() -> None:
    """All 8 films of 5 patients found, and none of 4 missed: the interval is that of the rule of three."""
    present, patients = [True] * 8 + [False] * 8, [0, 0, 1, 1, 2, 2, 3, 4, 5, 5, 6, 6, 7, 7, 8, 8]
    found = _found(present, [9.0] * 8 + [-9.0] * 8, patients)
    assert found["sensitivity"] == pytest.approx((1.0, 1 - 3 / 5, 1.0))
    assert found["specificity"] == pytest.approx((1.0, 1 - 3 / 4, 1.0))
    assert found["auroc"] == pytest.approx((1.0, 1 - 3 / 4, 1.0))
    none = _found(present, [-9.0] * 16, patients)
    assert none["sensitivity"] == pytest.approx((0.0, 0.0, 3 / 5))


def test_films_of_one_patient_give_values_without_intervals() -> None:
    found = _found([True, False, True, False], [2.0, 1.0, -1.0, -2.0], [7, 7, 7, 7])
    assert found["auroc"][0] == 0.75
    assert all(np.isnan(low) and np.isnan(high) for _, low, high in found.values())
