"""Assignment of films to train, val and test, and errors before training."""

from pathlib import Path
from typing import Any

import pytest

from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import EvaluationError, SettingsError
from mae_rad.finetuning.patient_splits import rows_by_split
from mae_rad.finetuning.registry import build_task
from mae_rad.finetuning.task.settings import FinetuneSettings
from tests.builders.film_tables import film, hexed, write_public, write_run

SPLITS = ["train"] * 6 + ["val", "val", "test", "test"]


def _films(**changes: dict[str, Any]) -> list[dict[str, Any]]:
    """Two films each of 40 patients; ``changes``: name of a film, as ``f12`` → fields."""
    rows = []
    for number in range(80):
        patient = number // 2
        row = film(number, patient, SPLITS[patient % 10], body_part=["HAND", "KNEE"][number % 2])
        rows.append(row | changes.get(f"f{number}", {}))
    return rows


def _public(folder: Path, films: list[dict[str, Any]], present: Any = lambda number: number % 3 == 0) -> Path:
    labels = [
        (hexed("film", number), "plate", "present" if present(number) else "absent", "expert") for number in range(79)
    ]
    return write_public(folder, films, labels)


def _rows(public: Path, start_from: Path | None = None, **data: Any) -> dict[str, list[int]]:
    settings = FinetuneSettings.model_validate(
        {
            "data": {"shards": [public]} | data, "task": {"name": "classification", "labels": [{"label": "plate"}]},
            "encoder": {}, "optimizer": {"steps": 1, "batch": 8}, "runtime": {"run_dir": "none"},
            "start_from": start_from,
        }
    )  # fmt: skip
    index = ShardIndex([public], where=settings.data.where, split=None)
    return {split: rows.tolist() for split, rows in rows_by_split(settings, build_task(settings, index)).items()}


def test_films_are_used_by_the_split_of_their_patient(tmp_path: Path) -> None:
    rows = _rows(_public(tmp_path / "public", _films()))
    assert {split: len(places) for split, places in rows.items()} == {"train": 48, "val": 16, "test": 15}  # 79 has none


def test_a_label_fraction_is_a_fraction_of_the_training_patients(tmp_path: Path) -> None:
    public = _public(tmp_path / "public", _films())
    whole, half, tenth = (_rows(public, label_fraction=fraction) for fraction in (1.0, 0.5, 0.17))
    assert set(tenth["train"]) < set(half["train"]) < set(whole["train"])
    assert (len(half["train"]), len(tenth["train"])) == (24, 10)
    assert tenth["val"] == whole["val"]
    assert tenth["test"] == whole["test"]


def test_films_of_unknown_patients_are_used_in_train_only(tmp_path: Path) -> None:
    rows = _rows(_public(tmp_path / "public", _films(f0={"patient_known": False}, f16={"patient_known": False})))
    assert 0 in rows["train"]
    assert 16 not in rows["test"]


def test_a_training_film_with_pixels_of_val_and_test_is_left_out_and_then_one_split_has_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    pixels = {"pixel_sha256": 2 * hexed("pixels", 0)}
    rows = _rows(_public(tmp_path / "public", _films(f12=pixels, f16=pixels)))
    assert "1 films of train are left out, since val or test holds the same pixels" in caplog.text
    assert sum(len(rows[split]) for split in ("train", "val", "test")) == len(_films()) - 3
    assert "1 val films are left out" in caplog.text  # of val and test, test keeps its film


def test_pixels_of_a_test_film_are_not_in_val(tmp_path: Path) -> None:
    pixels = {"pixel_sha256": 2 * hexed("pixels", 16)}
    rows = _rows(_public(tmp_path / "public", _films(f12=pixels, f16=pixels)))
    assert 16 in rows["test"]
    assert 12 not in rows["val"]


def test_a_patient_in_two_splits_is_refused(tmp_path: Path) -> None:
    leaky = _films(f0={"patient": hexed("patient", 8)})
    with pytest.raises(EvaluationError, match="1 patients of these shard folders are in more than one split"):
        _rows(_public(tmp_path / "public", leaky))


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"label_fraction": 0.1}, SettingsError, r"6 labelled training films are fewer than optimizer\.batch=8"),
        ({"where": {"split": ["train", "test"]}}, EvaluationError, "no val film has a label"),
        ({"where": {"body_part": "SKULL"}}, SettingsError, "no film of the shards has body_part = SKULL"),
    ],
)
def test_too_few_films_are_refused(tmp_path: Path, data: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        _rows(_public(tmp_path / "public", _films()), **data)


def test_a_policy_with_uncertain_as_a_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.policy\.uncertain=class is not supported: a head has two classes"):
        _rows(_public(tmp_path / "public", _films()), policy={"uncertain": "class"})


def test_labels_of_one_class_are_refused(tmp_path: Path) -> None:
    def in_train(number: int) -> bool:
        return SPLITS[number // 2 % 10] == "train" and number % 3 == 0

    with pytest.raises(EvaluationError, match="label 'plate' has only absent films among 48 training films"):
        _rows(_public(tmp_path / "none", _films(), lambda number: False))
    with pytest.raises(EvaluationError, match="no label has present and absent films among 16 val films"):
        _rows(_public(tmp_path / "train", _films(), in_train))


def test_films_that_the_encoder_was_trained_on_elsewhere_are_not_scored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    public = _public(tmp_path / "public", _films())
    before = _rows(public)
    val, test = before["val"][0], before["test"][0]
    copies = [film(f"x{row}", f"x{row}", "train", pixel_sha256=2 * hexed("pixels", row)) for row in (val, test, 0)]
    run = write_run(tmp_path / "run", [write_public(tmp_path / "elsewhere", copies)])
    after = _rows(public, start_from=run / "encoder")
    assert after["train"] == before["train"]
    assert set(before["val"]) - set(after["val"]) == {val} and set(before["test"]) - set(after["test"]) == {test}
    assert "1 test films are left out" in caplog.text
