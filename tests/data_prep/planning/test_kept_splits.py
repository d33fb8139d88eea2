"""Splits by strata and with a site held out: quotas, what is kept, and who stays."""

from collections import Counter
from pathlib import Path

import pytest

from data_prep.errors import SettingsError
from data_prep.planning.kept_splits import KeptSplits, SplitRule, keep_splits
from data_prep.planning.settings import SplitSettings
from data_prep.planning.splits import split_draw

SPLITS = SplitSettings.model_validate({"val": 0.1, "test": 0.2, "stratify": {"column": "body_part"}})
SEED = 7


def patients(value: str, count: int) -> dict[str, frozenset[str]]:
    return {f"{value}-{number:03d}": frozenset([value]) for number in range(count)}


def keep(
    private: Path,
    values: dict[str, frozenset[str]],
    *,
    held_out: frozenset[str] = frozenset(),
    known: frozenset[str] | None = None,
    later: bool = False,
) -> KeptSplits:
    rule = SplitRule({"stratify": {"column": "body_part", "table": False}}, values, held_out)
    kept = keep_splits(private, frozenset(values) if known is None else known, rule, SPLITS, SEED, later=later)
    kept.write()
    return kept


def counts(kept: KeptSplits, stratum: str) -> Counter[str]:
    return Counter(split for patient, split in kept.splits.items() if kept.strata[patient] == stratum)


def test_every_stratum_is_divided_to_the_rounded_quota(tmp_path: Path) -> None:
    kept = keep(tmp_path, {**patients("HAND", 103), **patients("KNEE", 20), **patients("RIB", 3)})
    assert counts(kept, "HAND") == {"test": 21, "val": 10, "train": 72}  # 20.6 and 10.3 of 103
    assert counts(kept, "KNEE") == {"test": 4, "val": 2, "train": 14}
    assert counts(kept, "RIB") == {"test": 1, "train": 2}  # 0.6 and 0.3 of 3
    by_draw = sorted(patients("KNEE", 20), key=lambda patient: split_draw(patient, SEED))
    assert [kept.splits[patient] for patient in by_draw] == ["test"] * 4 + ["val"] * 2 + ["train"] * 14


def test_halves_are_rounded_up_and_decimal_fractions_count_as_written(tmp_path: Path) -> None:
    splits = SPLITS.model_copy(update={"val": 0.05, "test": 0.15})
    rule = SplitRule({}, patients("HAND", 10) | patients("KNEE", 30), frozenset())
    kept = keep_splits(tmp_path, frozenset(rule.column or {}), rule, splits, SEED, later=False)
    assert counts(kept, "HAND") == {"test": 2, "val": 1, "train": 7}  # 1.5 and 0.5
    assert counts(kept, "KNEE") == {"test": 5, "val": 2, "train": 23}  # 4.5 and 1.5


def test_a_patient_has_the_rarest_of_its_values(tmp_path: Path) -> None:
    both = {f"both-{number}": frozenset(["HAND", "RIB"]) for number in range(4)}
    kept = keep(tmp_path, {**patients("HAND", 30), **patients("RIB", 6), **both})
    assert kept.order == ("RIB", "HAND")
    assert all(kept.strata[patient] == "RIB" for patient in both)
    assert counts(kept, "RIB")["test"] == 2


def test_patients_without_a_value_are_a_stratum(tmp_path: Path) -> None:
    kept = keep(tmp_path, patients("HAND", 10), known=frozenset({*patients("HAND", 10), *map(str, range(20))}))
    assert counts(kept, "") == {"test": 4, "val": 2, "train": 14}


def test_who_is_there_stays_and_new_patients_fill_what_the_stratum_lacks(tmp_path: Path) -> None:
    first = keep(tmp_path, {**patients("HAND", 7), **patients("KNEE", 40)})
    assert counts(first, "HAND") == {"test": 1, "val": 1, "train": 5}
    # now HAND is the more frequent one, and a KNEE patient has a HAND as well
    grown = {**patients("HAND", 60), **patients("KNEE", 41), **patients("WRIST", 90)}
    grown["KNEE-000"] = frozenset(["KNEE", "HAND"])
    second = keep(tmp_path, grown, later=True)
    assert {patient: second.splits[patient] for patient in first.splits} == dict(first.splits)
    assert second.strata["KNEE-000"] == "KNEE"
    assert second.order == ("WRIST", "HAND", "KNEE")
    assert counts(second, "HAND") == {"test": 12, "val": 6, "train": 42}
    assert counts(second, "WRIST") == {"test": 18, "val": 9, "train": 63}


def test_a_batch_without_the_earlier_patients_fills_the_quota_of_all(tmp_path: Path) -> None:
    keep(tmp_path, patients("HAND", 10))
    batch = {name: own for name, own in patients("HAND", 20).items() if name not in patients("HAND", 10)}
    assert counts(keep(tmp_path, batch, later=True), "HAND") == {"test": 4, "val": 2, "train": 14}


def test_patients_who_were_removed_leave_the_table_and_free_their_place(tmp_path: Path) -> None:
    first = keep(tmp_path, patients("HAND", 10))
    gone = [patient for patient, split in first.splits.items() if split == "test"]
    (tmp_path / "withdrawn.txt").write_text("\n".join(gone))
    left = {name: own for name, own in patients("HAND", 12).items() if name not in gone}
    second = keep(tmp_path, left, later=True)
    assert not set(gone) & second.splits.keys()
    assert counts(second, "HAND") == {"test": 2, "val": 1, "train": 7}


def test_held_out_patients_test_beside_the_quotas(tmp_path: Path) -> None:
    values = patients("HAND", 50)
    held_out = frozenset([*sorted(values)[:20], "a study without a number"])
    kept = keep(tmp_path, values, held_out=held_out)
    assert {kept.splits[patient] for patient in sorted(values)[:20]} == {"test"}
    assert counts(kept, "HAND") == {"test": 6, "val": 3, "train": 21}
    assert kept.held_out == {"a study without a number"}
    assert kept.late == 0
    # a patient who trains already goes on to train, and that is told
    train = next(patient for patient, split in kept.splits.items() if split == "train")
    again = keep(tmp_path, values, held_out=held_out | {train}, later=True)
    assert (again.splits[train], again.late) == ("train", 1)


def test_a_value_without_a_test_patient_is_named_but_never_a_number_of_one(tmp_path: Path) -> None:
    kept = keep(tmp_path, {**patients("HAND", 30), **patients("RIB", 1), **patients("MRN 0417123", 2)})
    assert kept.untested() == ["RIB", "(a value of 2 patients)"]


def test_a_folder_that_does_not_keep_them_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not keep the splits of these shards"):
        keep(tmp_path, patients("HAND", 10), later=True)
    path = keep(tmp_path, patients("HAND", 10)).path
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"damaged")
    with pytest.raises(SettingsError, match="is damaged"):
        keep(tmp_path, patients("HAND", 10))


def test_a_table_and_strata_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="one of the two"):
        SplitSettings.model_validate({"table": "splits.csv", "hold_out": {"site": "a"}})
