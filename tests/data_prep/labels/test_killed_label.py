"""What a killed label command left in a public folder is gone after the next one; two do not write at once."""

from pathlib import Path

import pytest

from data_prep.errors import FolderBusyError
from data_prep.runtime.folder_lock import locked
from tests.builders.label_builder import Folders

TABLE = "path,label,value\ns1/IM0001,fracture,present\ns2/IM0001,fracture,absent\n"


def test_the_table_of_a_killed_command_is_removed(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    (folders.public / ".labels.parquet.0123456789abcdef.part").write_bytes(b"labels of a film that may be gone")
    folders.run(TABLE)
    assert sorted(path.name for path in folders.public.iterdir() if "labels" in path.name) == ["labels.parquet"]


def test_two_commands_do_not_write_at_once(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    with locked(folders.public), pytest.raises(FolderBusyError, match="another command is writing"):
        folders.run(TABLE)
    assert not (folders.public / "labels.parquet").exists()
