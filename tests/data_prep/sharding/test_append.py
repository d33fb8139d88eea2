"""A growing archive: generations are added, no film is repeated, no patient changes the split."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import pytest

from data_prep.cli import main
from data_prep.errors import SettingsError, ShardFormatError
from data_prep.labels.write_labels import LabelFiles, write_labels
from data_prep.planning.settings import ShardSettings
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from data_prep.shard_format.appended_folders import generation_folders
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.sharding.append import append
from data_prep.sharding.shard import load_recorded_settings, shard
from data_prep.verification.audit import audit
from data_prep.verification.verify import verify
from mae_rad.data.shard_reader import ShardIndex
from tests.builders.dicom_builder import DX_FOR_PRESENTATION, write_film
from tests.builders.private_builder import SECRET, anatomy, make_private, settings

RUN = ["runtime.workers=1", "runtime.isolated=false"]
PLACE = ["shard", "film_offset", "sidecar_offset", "generation"]
"""Columns in which generations differ from one run over everything."""


def write_study(archive: Path, number: int, *, study: str, names: Sequence[str] = ("PA",)) -> None:
    for name in names:
        write_film(
            archive / f"p{number}" / f"{study}-{name}.dcm",
            values=anatomy((number, study, name)),
            patient_id=f"MRN-0417-{number}",
            study=study,
            window=(2048, 4096),
            sop_class=DX_FOR_PRESENTATION,
            BodyPartExamined="CHEST",
            ViewPosition=name,
        )


@pytest.fixture
def grown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The folders (private, public) of an archive with one generation of shards."""
    private = make_private(tmp_path, monkeypatch)
    shard(private, tmp_path / "public", settings())
    return private, tmp_path / "public"


def rescan(private: Path) -> None:
    scan([private.parent / "archive"], private, ScanSettings(workers=1))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def films(public: Path) -> pa.Table:
    return ShardIndex([public], split=None).table.drop_columns(PLACE).sort_by("key")


def test_three_steps_give_the_films_of_one_run(grown: tuple[Path, Path], tmp_path: Path) -> None:
    private, public = grown
    for step in range(2):
        write_study(tmp_path / "archive", 2 + step, study=f"new {step}", names=("PA", "LL"))
        write_study(tmp_path / "archive", 20 + step, study=f"later {step}")
        rescan(private)
        card = append(private, public, settings())
        assert card is not None and card.files.written == 3
        total = card.files.written + card.files.rejected + card.files.dropped
        assert total == sum(path.is_file() for path in (tmp_path / "archive").rglob("*"))
    assert [folder.name for folder in generation_folders(public)] == ["public", "generation-001", "generation-002"]
    shard(private, tmp_path / "whole", settings())
    assert films(public).equals(films(tmp_path / "whole"))
    assert ShardIndex([public], split=None).table["generation"].to_pylist().count(2) == 3


def test_earlier_shards_stay_to_the_byte(grown: tuple[Path, Path], tmp_path: Path) -> None:
    private, public = grown
    before = contents(public)
    write_study(tmp_path / "archive", 30, study="new")
    rescan(private)
    append(private, public, settings())
    assert contents(public) == before
    assert [verify(folder) for folder in generation_folders(public)] == [[], []]
    assert main.main(["verify", str(public)]) == 0
    assert main.main(["audit", str(public), "--private", str(private)]) == 0


def test_without_new_films_nothing_is_added(
    grown: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private, public = grown
    rescan(private)
    assert main.main(["append", str(private), "--out", str(public), *RUN, "runtime.max_reject_fraction=0.5"]) == 0
    assert "no generation was added" in capsys.readouterr().out
    assert sorted(path.name for path in public.iterdir() if path.is_dir()) == []


def test_a_scan_of_the_new_batch_alone_repeats_no_film(
    grown: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Next month's export holds studies again: equal films are dropped, changed ones are conflicts, new ones come."""
    _, public = grown
    batch = tmp_path / "batch"
    shutil.copytree(tmp_path / "archive" / "p0", batch / "p0")
    write_study(batch, 40, study="new")
    before: dict[str, Any] = {"patient_id": "MRN-0417-1", "study": "study 1", "sop_class": DX_FOR_PRESENTATION}
    source = tmp_path / "archive" / "p1" / "PA.dcm"
    uid = _uid(source)
    write_film(batch / "p1.dcm", values=anatomy("other pixels"), BodyPartExamined="KNEE", SOPInstanceUID=uid, **before)
    monkeypatch.setenv("MAE_RAD_KEY", SECRET)
    scan([batch], tmp_path / "private2", ScanSettings(workers=1))
    card = append(tmp_path / "private2", public, settings())
    assert card is not None
    assert card.reasons == {"already_sharded": 2, "uid_conflict": 1}
    assert (card.files.written, card.files.rejected, card.files.dropped) == (1, 1, 2)


def _uid(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def test_a_study_that_changes_its_patient_is_refused(grown: tuple[Path, Path], tmp_path: Path) -> None:
    private, public = grown
    study = str(pydicom.dcmread(tmp_path / "archive" / "p3" / "PA.dcm", stop_before_pixels=True).StudyInstanceUID)
    write_film(
        tmp_path / "archive" / "moved.dcm",
        values=anatomy("moved"),
        patient_id="MRN-0417-99",
        sop_class=DX_FOR_PRESENTATION,
        StudyInstanceUID=study,
    )
    rescan(private)
    card = append(private, public, settings())
    assert card is not None and card.reasons["identity_changed"] == 1 and card.files.written == 0
    assert generation_folders(public) == [public]


def test_patients_keep_their_split(grown: tuple[Path, Path], tmp_path: Path) -> None:
    private, public = grown
    for number in range(6):
        write_study(tmp_path / "archive", number, study=f"again {number}")
    rescan(private)
    append(private, public, settings())
    table = ShardIndex([public], split=None).table
    pairs = set(zip(table["patient"].to_pylist(), table["split"].to_pylist(), strict=True))
    assert len(pairs) == len({patient for patient, _ in pairs})


def test_a_table_that_moves_patients_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = make_private(tmp_path, monkeypatch)
    table = tmp_path / "splits.csv"
    table.write_text("patient,split\nMRN-0417-1,test\n")
    shard(private, tmp_path / "public", settings(splits={"val": 0.25, "test": 0.25, "table": str(table)}))
    write_study(tmp_path / "archive", 1, study="again")
    rescan(private)
    table.write_text("patient,split\nMRN-0417-1,train\n")
    with pytest.raises(SettingsError, match="1 patients of earlier generations would change their split"):
        append(private, tmp_path / "public", settings(splits={"val": 0.25, "test": 0.25, "table": str(table)}))
    with pytest.raises(ShardFormatError, match="Give it again"):
        load_recorded_settings(tmp_path / "public", RUN, ShardSettings)


def test_other_settings_are_refused(grown: tuple[Path, Path]) -> None:
    private, public = grown
    with pytest.raises(ShardFormatError, match="max_side: 64 in the folder, 32 given"):
        append(private, public, settings(max_side=32))


def test_an_interrupted_append_is_hidden_and_continues(
    grown: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = grown
    write_study(tmp_path / "archive", 50, study="new")
    rescan(private)
    with monkeypatch.context() as patch:
        patch.setattr("data_prep.sharding.run.encode_parquet", _stop)
        with pytest.raises(KeyboardInterrupt):
            append(private, public, settings())
    assert generation_folders(public) == [public]
    assert (public / ".generation-001" / "train-000000.tar").exists() or any((public / ".generation-001").glob("*.tar"))
    append(private, public, settings())
    assert len(generation_folders(public)) == 2
    assert not (public / ".generation-001").exists()


def _stop(_: object) -> bytes:
    raise KeyboardInterrupt


def test_shard_does_not_rewrite_what_generations_follow(grown: tuple[Path, Path], tmp_path: Path) -> None:
    private, public = grown
    write_study(tmp_path / "archive", 60, study="new")
    rescan(private)
    append(private, public, settings())
    with pytest.raises(ShardFormatError, match="append"):
        shard(private, public, settings())
    assert read_dataset_card(public).after is None


def test_a_missing_generation_is_reported(grown: tuple[Path, Path], tmp_path: Path) -> None:
    private, public = grown
    for number in (70, 71):
        write_study(tmp_path / "archive", number, study="new")
        rescan(private)
        append(private, public, settings())
    shutil.rmtree(public / "generation-001")
    with pytest.raises(ShardFormatError, match="generation is missing"):
        generation_folders(public)


def test_labels_reach_all_generations(grown: tuple[Path, Path], tmp_path: Path) -> None:
    private, public = grown
    write_study(tmp_path / "archive", 80, study="new")
    rescan(private)
    append(private, public, settings())
    (tmp_path / "labels.csv").write_text(
        "path,label,value\np80/new-PA.dcm,fracture,present\np1/PA.dcm,fracture,absent\n"
    )
    write_labels(private, public, LabelFiles([tmp_path / "labels.csv"]))
    labelled = set(pq.read_table(public / "labels.parquet")["key"].to_pylist())
    table = ShardIndex([public], split=None).table
    of = dict(zip(table["key"].to_pylist(), table["generation"].to_pylist(), strict=True))
    assert sorted(of[key] for key in labelled) == [0, 1]
    assert audit(public, privates=[private]).problems == []


def test_a_reader_can_read_the_first_generations_only(grown: tuple[Path, Path], tmp_path: Path) -> None:
    private, public = grown
    before = ShardIndex([public], split=None)
    write_study(tmp_path / "archive", 90, study="new")
    rescan(private)
    append(private, public, settings())
    first = ShardIndex([public], split=None, generations=1)
    whole = ShardIndex([public], split=None)
    assert first.dataset_sha256 == before.dataset_sha256 != whole.dataset_sha256
    assert len(ShardIndex([public], split=None, where={"generation": 1})) == len(whole) - len(first) == 1
