"""Pages about a folder of others: a damaged film is one line, and no cell of a table is a formula."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.cli.main import main
from tests.builders.shard_builder import film, noise, write_public


@pytest.fixture
def public(tmp_path: Path) -> Path:
    films = [film(f"f{number}", noise(90, 80, seed=number)) for number in range(4)]
    return write_public(tmp_path / "public", films)


@pytest.mark.parametrize("damage", ["sidecar", "film", "cut", "pipe", "gone"])
@pytest.mark.parametrize("command", ["preview", "borders"])
def test_a_damaged_film_is_an_error_of_one_line(
    damage: str, command: str, public: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tar,) = public.glob("*.tar")
    data = tar.read_bytes()
    if damage == "sidecar":
        tar.write_bytes(data.replace(b'"format_version": 2', b'"format_version": []'[:19]))
    elif damage == "film":
        tar.write_bytes(data.replace(b"\xff\x4f\xff\x51", b"\xff\x4f\xff\x00"))
    elif damage == "cut":
        tar.write_bytes(data[:1500])
    else:
        tar.unlink()
        if damage == "pipe":
            os.mkfifo(tar)
    assert main([command, str(public), "--out", str(tmp_path / "out.png")]) == 2
    error = capfd.readouterr().err
    assert "error: train-000000.tar is missing or damaged; run: mae-rad verify" in error and "unexpected" not in error


def test_a_device_of_a_strangers_folder_is_no_formula(public: Path, tmp_path: Path) -> None:
    index = pq.read_table(public / "index.parquet")
    for name, text in (("manufacturer", '=HYPERLINK("http://h")'), ("model", "@" + "x" * 300)):
        place = index.schema.get_field_index(name)
        index = index.set_column(place, index.schema.field(name), pa.array([text] * index.num_rows))
    pq.write_table(index, public / "index.parquet")
    assert main(["borders", str(public), "--out", str(tmp_path / "sheets")]) == 0
    table = (tmp_path / "sheets" / "films.csv").read_text()
    assert "\"'=HYPERLINK" in table and ",'@xxx" in table
