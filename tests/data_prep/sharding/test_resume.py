"""State of a folder after a killed, repeated or wrong command, and what the next command does."""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from data_prep.archive.manifest import key_fingerprint, read_linkage, read_manifest, with_fingerprint, write_manifest
from data_prep.errors import ArchiveError, Reason, ShardFormatError
from data_prep.planning.plan_inputs import read_inputs
from data_prep.runtime.folder_lock import LOCK_FILE, locked
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.sharding import shard_writer
from data_prep.sharding.append import append
from data_prep.sharding.public_folder import folder_writer, mark_damaged
from data_prep.sharding.shard import shard
from data_prep.verification.verify import verify
from tests.builders.dicom_builder import write_film
from tests.builders.private_builder import ONE, anatomy, make_private, settings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("resume")
    with pytest.MonkeyPatch.context() as patch:
        shard(make_private(folder, patch), folder / "public", settings())
        yield folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_kill_between_the_last_two_steps_leaves_no_mark(private: Path, public: Path) -> None:
    before = contents(public)
    (public / ".unfinished.json").write_bytes((public / "dataset.json").read_bytes())
    shard(private, public, settings())
    assert contents(public) == before


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"config": 3}'])
def test_a_damaged_dataset_card_is_rewritten_and_its_shards_kept(damage: bytes, private: Path, public: Path) -> None:
    before, changed = contents(public), (public / "train-000000.tar").stat().st_mtime_ns
    (public / "dataset.json").write_bytes(damage)
    with pytest.raises(ShardFormatError, match=r"same shard command again|format version None"):
        read_dataset_card(public)
    with pytest.raises(ShardFormatError, match=r"same shard command again|format version None"):
        append(private, public, settings(), [Reason.CORRUPT_PIXELS])
    with pytest.raises(ShardFormatError, match=r"holds other files, or its dataset.json is damaged"):
        shard(private, public, settings(seed=1))
    shard(private, public, settings())
    assert contents(public) == before and (public / "train-000000.tar").stat().st_mtime_ns == changed


def test_a_shard_that_lacks_a_file_is_rewritten(private: Path, public: Path) -> None:
    before = contents(public)
    for path in public.glob("*-*.json"):
        card = json.loads(path.read_bytes())
        if card["rejects"]:
            path.write_text(json.dumps({**card, "rejects": card["rejects"][1:]}))
    shard(private, public, settings())
    assert contents(public) == before


def test_an_unmounted_archive_is_not_accepted_as_a_loss_of_files(tmp_path: Path, monkeypatch: Any) -> None:
    for number in range(24):
        write_film(tmp_path / "archive" / f"{number}.dcm", values=anatomy(number), patient_id=f"P{number}")
    private, public = make_private(tmp_path, monkeypatch), tmp_path / "public"
    chosen = settings(films_per_shard=24, splits={"val": 0, "test": 0}, runtime={**ONE, "accept": ["unreadable_file"]})
    (tmp_path / "archive").rename(tmp_path / "away")
    with pytest.raises(
        ArchiveError, match=r"24 files .*does not cover shards of which more than half is missing.*mount"
    ):
        shard(private, public, chosen)
    (tmp_path / "away").rename(tmp_path / "archive")
    for number in range(12):
        (tmp_path / "archive" / f"{number}.dcm").unlink()
    assert shard(private, public, chosen).reasons == {"unreadable_file": 12}
    assert shard(private, public, chosen).files.written == 12


def test_an_archive_that_disappears_during_a_shard_rejects_no_file(tmp_path: Path, monkeypatch: Any) -> None:
    def vanish(path: str, facts: Any) -> bytes:
        if facts["row"] == last:
            (tmp_path / "archive").rename(tmp_path / "away")
        return whole(path, facts)

    for number in range(24):
        write_film(tmp_path / "archive" / f"{number}.dcm", values=anatomy(number), patient_id=f"P{number}")
    private, public, whole = make_private(tmp_path, monkeypatch), tmp_path / "public", shard_writer._read
    chosen = settings(films_per_shard=24, splits={"val": 0, "test": 0}, runtime={**ONE, "accept": ["unreadable_file"]})
    last = int(read_inputs(private, public, chosen).plan.shards[0].rows[-3])  # three of its files are lost with it
    with monkeypatch.context() as patch:
        patch.setattr(shard_writer, "_read", vanish)
        with pytest.raises(ArchiveError, match="24 files"):
            shard(private, public, chosen)
    (tmp_path / "away").rename(tmp_path / "archive")
    card = shard(private, public, chosen)
    assert card.files.written == 24 and card.quarantined == []


def test_manifest_and_linkage_of_two_scans_are_refused(private: Path, public: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(private, tmp_path / "private"))
    manifest, linkage = read_manifest(other), read_linkage(other)
    order = pa.array([1, 0, *range(2, manifest.num_rows)])  # of equally many files
    swapped = linkage.take(order).set_column(0, "row", linkage["row"])
    write_manifest(other, with_fingerprint(manifest, key_fingerprint(manifest)), swapped)
    with pytest.raises(ArchiveError, match="are of two different scans"):
        shard(other, public, settings())


def test_verify_does_not_mark_shards_as_damaged_while_a_command_runs(public: Path) -> None:
    with locked(public), pytest.raises(ShardFormatError, match="another shard command"):
        mark_damaged(public, ["train-000000.tar: no tar"])
    assert mark_damaged(public, ["train-000000.tar: no tar"]) == ["train-000000"]


def test_a_lock_file_is_used_where_folders_cannot_be_locked(public: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def network(descriptor: int, how: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        lock(descriptor, how)

    lock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", network)
    before = contents(public)
    identity = {
        name: json.loads(before["dataset.json"])[name] for name in ("format_version", "key_fingerprint", "config")
    }
    with folder_writer(public, identity):
        assert (public / LOCK_FILE).exists()
        with pytest.raises(ShardFormatError, match="another shard command"), folder_writer(public, identity):
            raise AssertionError
    assert contents(public) == before
    (public / LOCK_FILE).touch()  # its holder was killed
    with folder_writer(public, identity):
        pass
    assert contents(public) == before
    (tmp_path / "new").mkdir()
    with folder_writer(tmp_path / "new", identity):
        assert (tmp_path / "new" / LOCK_FILE).exists()


def test_a_file_system_without_locks_is_reported(tmp_path: Path, monkeypatch: Any, caplog: Any) -> None:
    def unknown(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unknown)
    with locked(tmp_path):
        assert "does not support locks" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_a_finished_folder_that_cannot_be_written_is_not_changed(private: Path, public: Path, monkeypatch: Any) -> None:
    def read_only(path: Path, *rest: Any, **options: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("unlink", "replace"):
        monkeypatch.setattr(Path, name, read_only)
    card = shard(private, public, settings())
    assert card.files.written == 14 and verify(public) == []
    os.unlink(public / "train-000000.json")  # noqa: PTH108 - Path.unlink is replaced
    with pytest.raises(ShardFormatError, match=r"cannot be written \(Read-only file system\)"):
        shard(private, public, settings())
