"""Labels of films as targets of a classification, and their weights."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.shard_format.label_policy import LabelPolicy
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import EvaluationError
from mae_rad.finetuning.classification.targets import KnownLabels, drawing_weights, known_labels, loss_weights
from mae_rad.heads.classification import TargetLabelSettings
from tests.builders.film_tables import film, hexed, write_public

FILMS = ["one", "two", "three", "four", "five"]
SAID = {
    "one": {"plate": "present", "line": "absent"},
    "two": {"plate": "absent", "line": "absent"},
    "three": {"plate": "absent", "line": "uncertain"},
    "four": {"plate": "absent"},
}


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    films = [film(name, name, "train", body_part="HAND" if name in ("one", "three") else "KNEE") for name in FILMS]
    labels = [
        (hexed("film", name), label, value, "expert") for name, words in SAID.items() for label, value in words.items()
    ]
    return write_public(tmp_path_factory.mktemp("shards") / "public", films, labels)


def _known(public: Path, *labels: TargetLabelSettings, policy: LabelPolicy | None = None) -> KnownLabels:
    return known_labels(ShardIndex([public]), [public], labels, policy or LabelPolicy())


def test_any_of_several_labels_is_absent_only_where_all_are(public: Path) -> None:
    known = _known(public, TargetLabelSettings(label=("plate", "line")))
    np.testing.assert_array_equal(known.values[:, 0], [1, 0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(known.weights[:, 0], [1, 1, 0, 0, 0])
    assert known.left_out(0, np.ones(5, bool)) == {"not labelled": 1 + 1, "uncertain": 1}


def test_a_label_of_one_body_part_applies_to_its_films(public: Path) -> None:
    known = _known(
        public,
        TargetLabelSettings(label="plate"),
        TargetLabelSettings(label="plate", name="h", where={"body_part": "HAND"}),
    )
    np.testing.assert_array_equal(known.values[:, 0], [1, 0, 0, 0, np.nan])
    np.testing.assert_array_equal(known.values[:, 1], [1, np.nan, 0, np.nan, np.nan])
    assert known.left_out(1, np.ones(5, bool)) == {}
    assert known.has_value.tolist() == [True] * 4 + [False]


def test_the_policy_decides_the_value_of_uncertain(public: Path) -> None:
    policy = LabelPolicy(uncertain="soft", soft_value=0.7)
    known = _known(public, TargetLabelSettings(label="line"), policy=policy)
    np.testing.assert_allclose(known.values[:, 0], [0, 0, 0.7, np.nan, np.nan])


def test_an_unknown_label_is_reported_with_the_available_ones(public: Path) -> None:
    with pytest.raises(EvaluationError, match=r"no label 'plates'\. Use one of line, plate"):
        _known(public, TargetLabelSettings(label="plates"))


def test_shards_without_labels_say_how_to_make_them(tmp_path: Path) -> None:
    bare = write_public(tmp_path / "bare", [film("x", "x", "train")])
    with pytest.raises(EvaluationError, match=r"no labels\.parquet. Write it with"):
        _known(bare, TargetLabelSettings(label="plate"))


def _random(films: int = 400) -> KnownLabels:
    random = np.random.default_rng(0)
    values = (random.random((films, 2)) < [0.1, 0.4]).astype(np.float32)
    weights = np.where(random.random((films, 2)) < [1.0, 0.5], random.uniform(0.5, 1, (films, 2)), 0)
    values[weights == 0] = np.nan
    return KnownLabels(values, weights.astype(np.float32), np.zeros((films, 2), np.int8))


LABELS = [TargetLabelSettings(label="a"), TargetLabelSettings(label="b", weight=3.0)]


def test_loss_weights_of_a_film_sum_to_one_in_the_mean() -> None:
    known = _random()
    weights = loss_weights(known, LABELS, positive_weight=False)
    assert weights.sum(axis=1).mean() == pytest.approx(1, rel=1e-5)
    ratio = weights[known.weights > 0] / (known.weights * [1, 3])[known.weights > 0]
    assert np.ptp(ratio) < 1e-5 * ratio.mean()
    assert (weights[known.weights == 0] == 0).all()


def test_positive_weights_give_both_classes_equal_total_weight() -> None:
    known = _random()
    weights = loss_weights(known, LABELS, positive_weight=True)
    for place in range(2):
        present, absent = (weights[known.values[:, place] == value, place].sum() for value in (1, 0))
        assert present == pytest.approx(absent, rel=1e-4)


def test_sampling_draws_both_classes_equally_often() -> None:
    known = _random()
    alone = KnownLabels(known.values[:, :1], known.weights[:, :1], known.reasons[:, :1])
    often = drawing_weights(alone)
    assert often[known.values[:, 0] == 1].sum() == pytest.approx(often[known.values[:, 0] == 0].sum(), rel=1e-5)
    both = drawing_weights(known)
    rare, common = (both[known.values[:, 0] == value].mean() for value in (1, 0))
    assert rare > 3 * common
