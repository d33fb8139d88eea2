import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score, roc_auc_score

from mae_rad.embedding.standardised_rows import vectors_of_array
from mae_rad.embedding.token_source import TokenBatch
from mae_rad.evaluation.probes import attentive
from mae_rad.evaluation.probes.attentive import AttentiveTask, attentive_scores
from mae_rad.evaluation.probes.linear_and_knn import PROBES

CPU = torch.device("cpu")
FILMS, DIM = 420, 16


class Held:
    """Tokens in memory; every third film has fewer patches."""

    dim = DIM

    def __init__(self, tokens):
        self.tokens = tokens
        self.mask = np.ones(tokens.shape[:2], dtype=bool)
        self.mask[::3, 20:] = False

    def batches(self, rows, size):
        for start in range(0, len(rows), size):
            here = rows[start : start + size]
            yield TokenBatch(here, torch.from_numpy(self.tokens[here]), torch.from_numpy(self.mask[here]))


def planted(seed, signal=6.0):
    """A finding is one patch of twenty-four, somewhere, that says which of two it is."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 2, FILMS)
    tokens = random.normal(size=(FILMS, 24, DIM)).astype(np.float32)
    where = random.integers(0, 20, FILMS)
    tokens[np.arange(FILMS), where, 0] += signal
    tokens[np.arange(FILMS), where, 1] += signal * (2 * y - 1)
    return Held(tokens), y


def question(y, train=slice(0, 200), val=slice(200, 280), test=slice(280, FILMS), how="val"):
    rows = np.arange(FILMS)
    known = {int(row): int(y[row]) for row in rows}
    return AttentiveTask(2, rows[train], rows[val], rows[test], known, how)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(attentive, "EPOCHS", 12)
    monkeypatch.setattr(attentive, "MIN_STEPS", 60)
    monkeypatch.setattr(attentive, "LEARNING_RATES", (3e-3, 1e-2, 3e-2))


def test_the_probe_detects_a_finding_of_one_patch_that_the_mean_does_not():
    source, y = planted(0)
    asked = question(y)
    said = attentive_scores(source, {"finding": asked}, 2, 0, CPU)["finding"]
    score = roc_auc_score(y[asked.test], said.scores[:, 1])
    counts = source.mask.sum(axis=1, keepdims=True)
    mean = vectors_of_array((source.tokens * source.mask[..., None]).sum(axis=1) / counts)
    ((linear, _),) = PROBES["linear"].predict(mean.take(asked.train), y[asked.train], mean.take(asked.test), 2, [1e-2])
    assert score > 0.95
    assert score > roc_auc_score(y[asked.test], linear[:, 1]) + 0.03
    np.testing.assert_allclose(said.scores.sum(axis=1), 1, rtol=1e-6)
    assert said.note.startswith("lr=")
    assert said.note.endswith("steps (val)")


def test_no_signal_no_score():
    source, _ = planted(1)
    y = np.random.default_rng(2).integers(0, 2, FILMS)
    asked = question(y)
    said = attentive_scores(source, {"noise": asked}, 2, 0, CPU)["noise"]
    assert 0.35 < roc_auc_score(y[asked.test], said.scores[:, 1]) < 0.65


def test_tasks_trained_together_equal_tasks_trained_alone():
    """On the same films and in the same order; a task that does not know a film does not learn from it."""
    source, y = planted(3)
    other = np.random.default_rng(4).integers(0, 2, FILMS)
    together = attentive_scores(source, {"a": question(y), "b": question(other)}, 2, 0, CPU)
    alone = attentive_scores(source, {"a": question(y)}, 2, 0, CPU)
    np.testing.assert_allclose(together["a"].scores, alone["a"].scores, atol=1e-4)
    few = question(other, train=slice(0, 40))
    assert set(few.train) < set(question(y).train)
    again = attentive_scores(source, {"a": question(y), "b": few}, 2, 0, CPU)
    np.testing.assert_allclose(again["a"].scores, alone["a"].scores, atol=1e-4)


def test_the_test_films_do_not_enter_the_training():
    source, y = planted(5)
    one = attentive_scores(source, {"a": question(y)}, 2, 0, CPU)["a"]
    changed = Held(source.tokens.copy())
    changed.tokens[300:] *= 100
    other = attentive_scores(changed, {"a": question(y)}, 2, 0, CPU)["a"]
    np.testing.assert_allclose(one.scores[:20], other.scores[:20], atol=1e-6)


def test_without_validation_films_the_middle_learning_rate_is_trained_for_all_steps():
    source, y = planted(6)
    asked = question(y, val=slice(0, 0), how="too few patients to choose")
    said = attentive_scores(source, {"a": asked}, 2, 0, CPU)["a"]
    assert said.note == "lr=0.01, 60 steps (too few patients to choose)"
    assert said.scores.shape == (140, 2)


def number(y, months, train=slice(0, 200), val=slice(200, 280)):
    """A number that depends on the planted finding."""
    rows = np.arange(FILMS)
    known = {int(row): float(months[row]) for row in rows}
    return AttentiveTask(1, rows[train], rows[val], rows[280:], known, "val", is_number=True)


def test_a_number_is_predicted_in_its_unit():
    source, y = planted(7)
    months = 150 + 40.0 * y + 3 * np.random.default_rng(8).normal(size=FILMS)
    asked = number(y, months)
    said = attentive_scores(source, {"age": asked}, 2, 0, CPU)["age"]
    assert said.scores.shape == (140, 1)
    assert r2_score(months[280:], said.scores[:, 0]) > 0.6
    years = attentive_scores(source, {"age": number(y, months / 12 - 1)}, 2, 0, CPU)["age"]
    np.testing.assert_allclose(years.scores, said.scores / 12 - 1, atol=2e-3)


def test_a_number_beside_classes_changes_neither():
    source, y = planted(9)
    months = 150 + 40.0 * y
    together = attentive_scores(source, {"a": question(y), "age": number(y, months)}, 2, 0, CPU)
    alone = attentive_scores(source, {"a": question(y)}, 2, 0, CPU)
    np.testing.assert_allclose(together["a"].scores, alone["a"].scores, atol=1e-4)
    few = number(y, months, train=slice(0, 40))
    again = attentive_scores(source, {"a": question(y), "age": few}, 2, 0, CPU)
    np.testing.assert_allclose(again["a"].scores, alone["a"].scores, atol=1e-4)


def test_the_numbers_are_standardised_by_the_training_films_alone():
    months = np.arange(FILMS, dtype=float)
    task = number(np.zeros(FILMS), months)
    assert task.scale == (pytest.approx(months[:200].mean()), pytest.approx(months[:200].std()))
    assert number(np.zeros(FILMS), np.full(FILMS, 7.0)).scale == (7, 1)
