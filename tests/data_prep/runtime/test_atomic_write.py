"""Files and folders are unchanged or complete after any interruption, and synced before they get their name."""

import os
import stat
from pathlib import Path

import pytest

from data_prep.runtime import atomic_write
from data_prep.runtime.atomic_write import (
    PRIVATE_MODE,
    atomic_file,
    atomic_folder,
    atomic_text,
    is_temporary,
    remove_temporary,
    temporary_paths,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what is synced, in order, temporary ones without their number."""
    found: list[str] = []
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        found.append("temporary" if is_temporary(Path(name)) else name)
        fsync(descriptor)

    monkeypatch.setattr(atomic_write.os, "fsync", recorded)
    return found


def test_a_file_is_as_before_or_complete(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    atomic_text(path, "before")
    with pytest.raises(RuntimeError), atomic_file(path) as file:
        file.write(b"half")
        file.flush()
        assert path.read_text() == "before" and len(names(tmp_path)) == 2
        raise RuntimeError
    assert path.read_text() == "before" and names(tmp_path) == ["table.csv"]
    atomic_text(path, "after\udcff\n")
    assert path.read_bytes() == b"after\\udcff\n" and names(tmp_path) == ["table.csv"]


def test_a_file_is_on_the_disk_before_its_name_is(tmp_path: Path, synced: list[str]) -> None:
    atomic_text(tmp_path / "table.csv", "text")
    assert synced == ["temporary", tmp_path.name]


def test_a_private_file_is_its_owners_alone_from_its_first_byte(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "linkage", PRIVATE_MODE):
        (part,) = tmp_path.iterdir()
        assert stat.S_IMODE(part.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "linkage").stat().st_mode) == 0o600
    before = os.umask(0o027)
    try:
        atomic_text(tmp_path / "public", "")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "public").stat().st_mode) == 0o640


def test_a_folder_is_as_before_or_complete(tmp_path: Path, synced: list[str]) -> None:
    folder = tmp_path / "new" / "encoder"
    for text in ("before", "after"):
        with atomic_folder(folder, "card") as made:
            (made / "card").write_text(text)
            (made / "inner").mkdir()
            (made / "inner" / "weights").write_text(text)
        assert (folder / "inner" / "weights").read_text() == text
    assert sorted(synced) == sorted(2 * ["card", "inner", "weights", "temporary", "new"]) and synced[-1] == "new"
    with pytest.raises(RuntimeError), atomic_folder(folder, "card") as made:
        (made / "card").write_text("half")
        raise RuntimeError
    assert (folder / "card").read_text() == "after" and names(tmp_path / "new") == ["encoder"]


def test_a_folder_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(FileExistsError, match="holds no card"), atomic_folder(tmp_path, "card"):
        raise AssertionError
    assert names(tmp_path) == ["mine"]


def test_what_interrupted_commands_left_is_recognised_and_removed(tmp_path: Path) -> None:
    left = [
        ".run.json.partial", ".encoder.17.partial", ".encoder.17.old", ".run.json.0123456789abcdef.part",
        ".val-000000.tar.part", ".encoder.0123456789abcdef.part",
    ]  # fmt: skip
    kept = [".lock", ".bashrc.old", "notes.part", ".part", "run.json"]
    for name in left + kept:
        (tmp_path / name).mkdir() if "encoder" in name else (tmp_path / name).write_text("")
    assert [path.name for path in temporary_paths(tmp_path, "run.json")] == [
        ".run.json.0123456789abcdef.part", ".run.json.partial",
    ]  # fmt: skip
    remove_temporary(tmp_path)
    assert names(tmp_path) == sorted(kept)
