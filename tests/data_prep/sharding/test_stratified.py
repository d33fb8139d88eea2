"""Shards with stratified splits and a site held out: written, appended, removed, verified."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import SettingsError, ShardFormatError
from data_prep.planning.settings import ShardSettings
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from data_prep.shard_format.index import read_index
from data_prep.sharding.append import append
from data_prep.sharding.remove import remove
from data_prep.sharding.shard import dry_run, load_recorded_settings, shard
from data_prep.verification.audit import audit
from data_prep.verification.verify import verify
from tests.builders.dicom_builder import DX_FOR_PRESENTATION, write_film
from tests.builders.private_builder import ONE, SECRET, anatomy

PARTS = {"HAND": 8, "KNEE": 5}
BY_PART = {"stratify": {"column": "body_part"}, "val": 0.2, "test": 0.2}


def write_patients(archive: Path, part: str, first: int, count: int, institution: str = "North") -> None:
    for number in range(first, first + count):
        write_film(
            archive / part / f"{number}.dcm",
            values=anatomy((part, number), 40, 32),
            patient_id=f"MRN-{part}-{number}",
            study=f"study {part} {number}",
            window=(2048, 4096),
            sop_class=DX_FOR_PRESENTATION,
            BodyPartExamined=part,
            InstitutionName=institution,
        )


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    monkeypatch.setenv("MAE_RAD_KEY", SECRET)
    caplog.set_level(logging.INFO)
    for part, count in PARTS.items():
        write_patients(tmp_path / "archive", part, 0, count)
    write_patients(tmp_path / "archive", "HAND", 100, 2, "South")
    return rescan(tmp_path / "private")


def rescan(private: Path, archive: str = "archive") -> Path:
    scan([private.parent / archive], private, ScanSettings(workers=1))
    return private


def settings(**splits: Any) -> ShardSettings:
    return ShardSettings.model_validate({"min_side": 16, "films_per_shard": 8, "splits": splits, "runtime": ONE})


def rows(public: Path) -> list[dict[str, Any]]:
    return read_index(public, ["patient", "split", "body_part", "site"]).to_pylist()


def count(public: Path, part: str) -> dict[str, int]:
    splits = [row["split"] for row in rows(public) if row["body_part"] == part]
    return {split: splits.count(split) for split in ("train", "val", "test")}


def test_growing_archives_keep_their_splits_and_quotas(private: Path, tmp_path: Path) -> None:
    public = tmp_path / "public"
    assert not list(private.glob("splits-*"))
    dry_run(private, public, settings(**BY_PART))
    assert not list(private.glob("splits-*"))  # it writes nothing
    shard(private, public, settings(**BY_PART))
    assert (count(public, "HAND"), count(public, "KNEE")) == (
        {"train": 6, "val": 2, "test": 2},
        {"train": 3, "val": 1, "test": 1},
    )
    before = {row["patient"]: row["split"] for row in rows(public)}
    write_patients(tmp_path / "archive", "KNEE", 20, 10)
    write_patients(tmp_path / "archive", "FOOT", 0, 5)
    append(
        rescan(private),
        public,
        load_recorded_settings(public, [], ShardSettings).model_copy(update={"runtime": settings().runtime}),
    )
    assert count(public, "KNEE") == {"train": 9, "val": 3, "test": 3}
    assert count(public, "FOOT") == {"train": 3, "val": 1, "test": 1}
    after = {row["patient"]: row["split"] for row in rows(public)}
    assert {patient: after[patient] for patient in before} == before
    assert verify(public) == []
    assert audit(public, privates=[private]).problems == []
    # other shards of the same archive, for another task, have the same splits
    shard(
        private,
        tmp_path / "other",
        ShardSettings.model_validate({"min_side": 16, "max_side": 24, "splits": BY_PART, "runtime": ONE}),
    )
    assert {row["patient"]: row["split"] for row in rows(tmp_path / "other")} == after


def test_a_batch_scanned_elsewhere_needs_the_kept_splits(private: Path, tmp_path: Path) -> None:
    public = tmp_path / "public"
    shard(private, public, settings(**BY_PART))
    write_patients(tmp_path / "batch", "KNEE", 20, 10)
    batch = rescan(tmp_path / "private2", "batch")
    with pytest.raises(SettingsError, match="does not keep the splits of these shards"):
        append(batch, public, settings(**BY_PART))
    (kept,) = private.glob("splits-*")
    (batch / kept.name).write_bytes(kept.read_bytes())
    append(batch, public, settings(**BY_PART))
    assert count(public, "KNEE") == {"train": 9, "val": 3, "test": 3}


def test_a_table_is_read_while_planning_and_named_again_to_append(private: Path, tmp_path: Path) -> None:
    public, table = tmp_path / "public", tmp_path / "labels.csv"
    lines = [f"MRN-{part}-{number},{'YES' if number < 4 else 'NO'}" for part in PARTS for number in range(PARTS[part])]
    table.write_text("patient,fracture\n" + "\n".join(lines))
    strata = {"stratify": {"column": "fracture", "table": table}, "val": 0.25, "test": 0.25}
    card = shard(private, public, settings(**strata))
    assert str(tmp_path) not in (public / "dataset.json").read_text()
    assert card.config["splits"]["stratify"] == {"column": "fracture", "table": True}
    with pytest.raises(ShardFormatError, match=r"splits\.stratify\.table=FILE"):
        load_recorded_settings(public, [], ShardSettings)
    again = load_recorded_settings(public, [f"splits.stratify.table={table}"], ShardSettings)
    assert append(private, public, again) is None


def test_a_further_table_with_the_same_column_keeps_the_splits_and_says_so(
    private: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = tmp_path / "labels.csv"
    named = [f"MRN-{part}-{number}" for part in PARTS for number in range(PARTS[part])]
    said = "15 of 15 patients keep the split that was drawn before with this column (splits-"
    splits = {}
    for name, yes, column in (("first", named[::2], "grade"), ("second", named[1::2], "grade"), ("third", [], "fine")):
        table.write_text("\n".join([f"patient,{column}", *(f"{one},{'Y' if one in yes else 'N'}" for one in named)]))
        caplog.clear()
        shard(private, tmp_path / name, settings(stratify={"column": column, "table": table}, val=0.2, test=0.2))
        assert caplog.text.count(said) == (name == "second")
        shard(private, tmp_path / name, settings(stratify={"column": column, "table": table}, val=0.2, test=0.2))
        assert caplog.text.count(said) == (name == "second")  # once, for a new folder
        splits[name] = {row["patient"]: row["split"] for row in rows(tmp_path / name)}
    assert splits["first"] == splits["second"] != splits["third"]


def test_a_site_is_held_out(private: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    public = tmp_path / "public"
    shard(private, tmp_path / "first", settings(val=0, test=0))
    sites = [row["site"] for row in rows(tmp_path / "first")]
    south = min(set(sites), key=sites.count)
    with pytest.raises(SettingsError, match=f"no film has site = nowhere; the column has .*{sites[0]}"):
        shard(private, public, settings(hold_out={"site": "nowhere"}))
    for part in ("a", "b"):  # a study without a patient number must not train either
        write_film(tmp_path / "archive" / f"{part}.dcm", values=anatomy(part, 40, 32), patient_id="", study=part,
                   sop_class=DX_FOR_PRESENTATION, BodyPartExamined="HAND",
                   InstitutionName="South" if part == "a" else "North")  # fmt: skip
    shard(rescan(private), public, settings(hold_out={"site": south}, **BY_PART))
    assert {row["split"] for row in rows(public) if row["site"] == south} == {"test"}
    assert count(public, "HAND") == {"train": 4 + 1, "val": 2, "test": 2 + 2 + 1}
    assert "1 studies without a patient number are held out" in caplog.text
    assert verify(public) == []
    card = json.loads((public / "dataset.json").read_text())
    assert card["config"]["splits"]["hold_out"] == {"site": south}


def test_a_value_of_a_table_is_held_out_without_being_published(private: Path, tmp_path: Path) -> None:
    public, table = tmp_path / "public", tmp_path / "houses.csv"
    table.write_text("patient,house\nMRN-HAND-1,Saint Nobody\nMRN-HAND-2,other\n")
    held = {"stratify": {"column": "body_part", "table": table}, "hold_out": {"house": "Saint Nobody"}}
    shard(private, public, settings(**held, val=0.2, test=0))
    assert [row["split"] for row in rows(public)].count("test") == 1
    assert "Nobody" not in (public / "dataset.json").read_text()
    with pytest.raises(ShardFormatError, match=r"splits\.hold_out\.house=VALUE"):
        load_recorded_settings(public, [f"splits.stratify.table={table}"], ShardSettings)


def test_empty_parts_and_classes_without_a_test_patient_are_said_first(
    private: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dry_run(private, tmp_path / "public", settings(stratify={"column": "body_part"}, val=0.05, test=0.1))
    assert "val will be empty" not in caplog.text  # 0.5 of ten hands
    assert "1 values of splits.stratify have no test patient" not in caplog.text  # 0.5 of five knees
    dry_run(private, tmp_path / "public", settings(stratify={"column": "body_part"}, val=0.04, test=0.09))
    assert "val will be empty" in caplog.text
    assert "1 values of splits.stratify have no test patient: KNEE" in caplog.text


def test_removed_patients_leave_the_kept_splits_with_the_next_append(private: Path, tmp_path: Path) -> None:
    public = tmp_path / "public"
    shard(private, public, settings(**BY_PART))
    test = next(row["patient"] for row in rows(public) if row["split"] == "test" and row["body_part"] == "HAND")
    (tmp_path / "list.txt").write_text(test)
    remove(public, tmp_path / "list.txt", private=private, runs=[])
    write_patients(tmp_path / "archive", "HAND", 20, 1)
    append(rescan(private), public, settings(**BY_PART))
    assert count(public, "HAND") == {"train": 6, "val": 2, "test": 2}
    assert verify(public) == []
