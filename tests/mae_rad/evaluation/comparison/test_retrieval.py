import numpy as np
import pytest
import torch
from torchmetrics.functional.retrieval import retrieval_average_precision, retrieval_hit_rate

from mae_rad.evaluation.comparison.films import Films
from mae_rad.evaluation.comparison.retrieval import RetrievalTask, average_precision_at_k, mean_of, retrieval_tasks
from mae_rad.evaluation.comparison.tasks import SkippedTask
from tests.builders.film_tables import film, write_public

RANDOM = np.random.default_rng(0)


def test_average_precision_and_recall_equal_torchmetrics():
    hits = RANDOM.random((40, 25)) < 0.2
    hits[:, 3] = True
    scores = torch.arange(25, 0, -1).float()
    ours = average_precision_at_k(hits, hits.sum(axis=1))
    for row, value in zip(hits, ours, strict=True):
        target = torch.from_numpy(row)
        assert value == pytest.approx(float(retrieval_average_precision(scores, target)), abs=1e-6)
        assert row[:3].any() == bool(retrieval_hit_rate(scores, target, top_k=3))


def test_relevant_films_that_are_not_retrieved_lower_the_average_precision():
    hits = np.array([[True, False, True, False]])
    assert average_precision_at_k(hits, np.array([2]))[0] == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision_at_k(hits, np.array([3]))[0] == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision_at_k(hits, np.array([90]))[0] == pytest.approx((1 + 2 / 3) / 4)  # four places, no more


def test_a_mean_over_queries_is_weighted():
    values = np.array([0.0, 1.0, 0.5])
    np.testing.assert_allclose(mean_of(values)(np.array([[1.0, 1, 1], [0, 2, 2]])), [0.5, 0.75])


def archive():
    """Test patients: 0 has two studies, 1 one with two films, 2 and 3 one film each; a film of train is not asked."""

    def one(name, patient, study, part, view, split="test"):
        return film(name, patient, split, body_part=part, view=view) | {"study": f"{study:032x}"}

    return [
        one("a", 0, 0, "HAND", "PA"), one("b", 0, 1, "HAND", "PA"), one("c", 0, 1, "HAND", "LATERAL"),
        one("d", 1, 2, "HAND", "PA"), one("e", 1, 2, "KNEE", "AP"), one("f", 2, 3, "KNEE", "AP"),
        one("g", 3, 4, None, "AP"), one("h", 4, 5, "HAND", "PA", "train"),
    ]  # fmt: skip


def test_queries_are_the_films_with_relevant_films_in_the_gallery(tmp_path):
    films = archive()
    public = write_public(tmp_path / "public", films)
    (kind, patient), skipped = retrieval_tasks(Films([public]), np.ones(8, dtype=bool), seed=0)
    assert skipped == []

    def found(question: RetrievalTask):
        keys = [films[row]["key"] for row in question.rows]
        names = {row["key"]: name for row, name in zip(films, "abcdefgh", strict=True)}
        return {
            names[keys[place]]: int(count) for place, count in zip(question.queries, question.relevant, strict=True)
        }

    assert found(kind) == {"a": 1, "b": 1, "d": 2, "e": 1, "f": 1}  # never films of the own patient
    assert found(patient) == {"a": 2, "b": 1, "c": 1}  # never films of the own study
    _, skipped = retrieval_tasks(Films([public]), np.arange(8) > 4, seed=0)
    assert [(one.name, type(one)) for one in skipped] == [
        ("same body part and view", SkippedTask),
        ("same patient in another study", SkippedTask),
    ]
