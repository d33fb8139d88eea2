"""With sidecar.hashes=none no digest of pixels is public; what digests are for works from the private folder."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from data_prep.dataset_report.report_content import collect_content
from data_prep.errors import SettingsError, ShardFormatError
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from data_prep.shard_format.index import read_index
from data_prep.sharding.append import append
from data_prep.sharding.remove import remove
from data_prep.sharding.shard import shard
from data_prep.verification.audit import audit
from data_prep.verification.verify import verify, verify_generations
from mae_rad.data.shard_reader import ShardIndex
from tests.builders.dicom_builder import write_film
from tests.builders.private_builder import SECRET, anatomy, settings

HIDDEN = {"sidecar": {"hashes": "none"}}
COLUMNS = ["key", "split", "same_pixels_as", "patient"]


def _write(archive: Path, name: int, patient: str, pixels: object) -> None:
    write_film(archive / f"{name:02d}.dcm", values=anatomy(pixels), patient_id=patient, study=f"study {name}")


def _first(archive: Path) -> None:
    for number in range(12):
        _write(archive, number, f"P{number:02d}", number)
    for number in range(12, 18):  # the pixels of 0 to 5, of other patients
        _write(archive, number, f"P{number:02d}", number - 12)


def _later(archive: Path) -> None:
    for number in range(18, 30):
        _write(archive, number, f"P{number:02d}", {18: 0, 19: 6, 20: 21}.get(number, number))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two generations of one archive, twice."""
    folder = tmp_path_factory.mktemp("digests")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAE_RAD_KEY", SECRET)
        for write, command in ((_first, shard), (_later, append)):
            write(folder / "archive")
            for name, changes in (("shown", {}), ("hidden", HIDDEN)):
                scan([folder / "archive"], folder / f"{name}_private", ScanSettings(workers=1))
                command(folder / f"{name}_private", folder / name, settings(**changes))
    return folder


def _bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def _groups(index: pa.Table) -> list[tuple[str | None, ...]]:
    return sorted(zip(*(index[name].to_pylist() for name in COLUMNS), strict=True))


def test_no_digest_is_in_a_public_byte_and_equal_pixels_are_told_as_before(made: Path) -> None:
    shown, hidden = read_index(made / "shown"), read_index(made / "hidden")
    digests = [digest.encode() for digest in shown["pixel_sha256"].to_pylist()]
    data = _bytes(made / "hidden")
    assert all(digest in _bytes(made / "shown") for digest in digests)
    assert not [digest for digest in digests if digest in data]
    assert hidden["pixel_sha256"].null_count == hidden["perceptual_hash"].null_count == len(hidden) == 30
    assert _groups(hidden) == _groups(shown)
    assert len(hidden) - hidden["same_pixels_as"].null_count == 9


def test_the_folder_verifies_and_audits(made: Path) -> None:
    for generation in (made / "hidden", made / "hidden" / "generation-001"):
        assert verify(generation) == []
        assert audit(generation, privates=[made / "hidden_private"]).problems == []
    assert verify_generations(made / "hidden") == []


def test_a_damaged_film_is_found_by_the_checksum_of_its_shard(made: Path, tmp_path: Path) -> None:
    public = Path(shutil.copytree(made / "hidden", tmp_path / "hidden"))
    tar = next(iter(sorted(public.glob("*.tar"))))
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 1
    tar.write_bytes(data)
    assert any("SHA-256 of the tar" in problem for problem in verify(public))


def test_the_same_command_and_another_append_change_nothing(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", SECRET)
    before = _bytes(made / "hidden")
    assert append(made / "hidden_private", made / "hidden", settings(**HIDDEN)) is None
    assert _bytes(made / "hidden") == before
    with pytest.raises(ShardFormatError, match="sidecar"):
        append(made / "hidden_private", made / "hidden", settings())


def test_another_private_folder_is_refused(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", SECRET)
    scan([made / "archive"], tmp_path / "other", ScanSettings(workers=1))
    with pytest.raises(SettingsError, match=r"sidecar\.hashes=none.*private folder that they were written from"):
        append(tmp_path / "other", made / "hidden", settings(**HIDDEN))


def test_a_film_of_train_with_the_pixels_of_a_held_out_one_is_not_trained_on(made: Path) -> None:
    shown, hidden = (set(ShardIndex([made / name]).table["key"].to_pylist()) for name in ("shown", "hidden"))
    everything = set(ShardIndex([made / "hidden"], with_copies=True).table["key"].to_pylist())
    assert hidden == shown and hidden < everything


def test_removal_leaves_no_key_of_the_patient_and_the_groups_as_with_digests(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", SECRET)
    index = read_index(made / "hidden")
    named = set(index["same_pixels_as"].drop_null().to_pylist())
    gone = index.filter(pc.is_in(index["key"], pa.array(sorted(named))))  # who represents others
    (tmp_path / "list.txt").write_text("\n".join(gone["patient"].to_pylist()))
    found = {}
    for name in ("shown", "hidden"):
        public = Path(shutil.copytree(made / name, tmp_path / name))
        remove(public, tmp_path / "list.txt")
        found[name] = _groups(read_index(public))
        for generation in (public, public / "generation-001"):
            assert verify(generation) == []
        assert not [key for key in gone["key"].to_pylist() if key.encode() in _bytes(public)]
    assert found["hidden"] == found["shown"] and len(found["hidden"]) == 30 - len(gone)


def test_the_report_finds_near_duplicates_with_the_private_folder(made: Path) -> None:
    shown = collect_content(made / "shown", None)
    without = collect_content(made / "hidden", None)
    with_private = collect_content(made / "hidden", made / "hidden_private")
    assert without.near_duplicate_pairs is None
    assert with_private.near_duplicate_pairs == shown.near_duplicate_pairs is not None
    for content in (without, with_private):
        assert content.equal_pixel_pairs.counts == shown.equal_pixel_pairs.counts
        assert content.split_leaks == shown.split_leaks


def test_lost_private_digests_are_written_again(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", SECRET)
    _first(tmp_path / "A")
    scan([tmp_path / "A"], tmp_path / "P", ScanSettings(workers=1))
    shard(tmp_path / "P", tmp_path / "Q", settings(**HIDDEN))
    before = _bytes(tmp_path / "Q")
    folder = tmp_path / "P" / "pixel_digests"
    assert {oct(path.stat().st_mode & 0o777) for path in folder.rglob("*.parquet")} == {"0o600"}
    shutil.rmtree(folder)
    shard(tmp_path / "P", tmp_path / "Q", settings(**HIDDEN))
    assert _bytes(tmp_path / "Q") == before and list(folder.rglob("*.parquet"))
