"""Classes that exclude each other: from a column, or from labels of which exactly one is present."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.shard_format.label_policy import LabelPolicy
from data_prep.shard_format.rare_values import MIN_PATIENTS
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import EvaluationError
from mae_rad.finetuning.multiclass.targets import (
    KnownClasses,
    class_weights,
    drawing_weights,
    known_classes,
    others_line,
)
from mae_rad.heads.multiclass import TargetClassesSettings
from tests.builders.film_tables import film, hexed, write_public

SAID = {
    "normal": {"normal": "present", "tumour": "absent"},
    "tumour": {"tumour": "present"},
    "both": {"normal": "present", "tumour": "present"},
    "perhaps": {"normal": "present", "tumour": "uncertain"},
    "neither": {"normal": "absent", "tumour": "absent"},
    "silent": {},
}


def _known(public: Path, **settings: object) -> KnownClasses:
    target = TargetClassesSettings.model_validate(settings)
    return known_classes(ShardIndex([public], split=None), [public], target, LabelPolicy())


def test_a_film_is_of_the_only_class_that_is_present(tmp_path: Path) -> None:
    labels = [
        (hexed("film", name), label, value, "expert") for name, words in SAID.items() for label, value in words.items()
    ]
    public = write_public(tmp_path / "public", [film(name, name, "train") for name in SAID], labels)
    known = _known(public, labels=["normal", "tumour"])
    assert known.names == ("normal", "tumour")
    assert known.y.tolist() == [0, 1, -1, -1, -1, -1]
    assert known.weights.tolist() == [1, 1, 0, 0, 0, 0]
    assert known.reasons.tolist() == [
        "", "", "with several classes present", "uncertain", *["without a class that is present"] * 2,
    ]  # fmt: skip
    with pytest.raises(EvaluationError, match="no label 'cyst'"):
        _known(public, labels=["normal", "cyst"])


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PA of many training patients, AP of just enough, LATERAL of one too few, OBLIQUE of test patients only."""
    counts = {("PA", "train"): 30, ("AP", "train"): MIN_PATIENTS, ("LATERAL", "train"): MIN_PATIENTS - 1}
    counts |= {("OBLIQUE", "test"): 40, (None, "train"): 5}
    films = [
        film((view, copy, number), (view, number), split, view=view, body_part="HAND" if number % 2 else "KNEE")
        for (view, split), patients in counts.items()
        for number in range(patients)
        for copy in range(2)
    ]
    return write_public(tmp_path_factory.mktemp("shards") / "public", films)


def test_values_of_ten_training_patients_are_classes(views: Path) -> None:
    known = _known(views, column="view")
    assert known.names == ("AP", "PA")
    assert known.others == ("LATERAL", "OBLIQUE")
    assert others_line("view", known.others) == ["view: no class, and left out: LATERAL, OBLIQUE."]
    assert others_line("view", [str(number) for number in range(12)])[0].endswith(" 9 and 2 more.")
    assert others_line("view", ()) == []
    assert np.bincount(known.y + 1).tolist() == [2 * (MIN_PATIENTS - 1 + 40 + 5), 2 * MIN_PATIENTS, 60]
    counts = {reason: (known.reasons == reason).sum() for reason in ("no view", "of another view")}
    assert counts == {"no view": 10, "of another view": 2 * (MIN_PATIENTS - 1 + 40)}


def test_named_classes_are_those_in_their_order(views: Path) -> None:
    known = _known(views, column="view", classes=["LATERAL", "PA"], where={"body_part": "HAND"})
    assert known.names == ("LATERAL", "PA")
    assert np.bincount(known.y[known.y >= 0]).tolist() == [2 * ((MIN_PATIENTS - 1) // 2), 30]
    assert (known.reasons == "no view").sum() == 4  # the knees among those without a view are not asked


def test_a_column_of_one_frequent_value_is_reported_with_its_values(views: Path) -> None:
    with pytest.raises(EvaluationError, match=r"fewer than two values of laterality have 10.*: none"):
        _known(views, column="laterality")


def test_all_classes_have_the_same_total_weight_or_are_drawn_equally_often() -> None:
    y = np.repeat([0, 1, 2], [60, 30, 10])
    weights = np.random.default_rng(0).uniform(0.5, 1, 100).astype(np.float32)
    totals = np.bincount(y, class_weights(y, weights, 3))
    assert totals == pytest.approx(np.full(3, totals[0]), rel=1e-5)
    assert np.bincount(y, drawing_weights(y, 3)) == pytest.approx([1, 1, 1])
    rare = np.repeat([0, 1], [1000, 1])
    assert class_weights(rare, np.ones(1001, np.float32), 2).max() == pytest.approx(20)


def test_an_error_shows_ten_values_of_a_column(views: Path) -> None:
    with pytest.raises(EvaluationError, match=r"1\), .* and \d+ more\)") as refused:
        _known(views, column="key")
    assert str(refused.value).count("(1)") == 10
