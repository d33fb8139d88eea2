"""The label command on real shards: entries of two readers and an adjudicator pass verify and audit."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import cohen_kappa_score

from data_prep.cli.exit_codes import BAD_INPUT, PROBLEMS_FOUND
from data_prep.cli.main import main
from data_prep.shard_format.label_tables import AGREEMENT_SCHEMA, STATISTICS_SCHEMA
from tests.builders.set_builder import Scanned, film, save, write

FILMS = 12


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scanned:
    for number in range(FILMS):
        save(tmp_path / "set" / f"MARNOSCH{number // 2}" / f"{number:04d}.png", film(number))
    return Scanned(tmp_path / "set", monkeypatch, image_pattern=r"(?P<patient>MARNOSCH\d+)/")


def read_by(path: Path, values: list[str]) -> str:
    """A wide table of one reader."""
    write(path, ["path,Fracture", *(f"MARNOSCH{n // 2}/{n:04d}.png,{value}" for n, value in enumerate(values))])
    return str(path)


def test_two_readers_an_adjudicator_and_boxes(
    found: Scanned, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    public = found.shards()
    random = np.random.default_rng(0)
    first = ["10"[n % 2] for n in range(FILMS)]
    second = [value if random.random() < 0.7 else "10"[int(value)] for value in first]
    differ = next(n for n in range(FILMS) if first[n] != second[n])
    write(tmp_path / "settled.csv", ["path,label,value", f"{differ:04d}.png,fracture,uncertain"])
    boxes = {
        "images": [{"id": 1, "file_name": "0000.png", "width": 48, "height": 60}],
        "categories": [{"id": 1, "name": "Coin"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40]}],
    }
    write(tmp_path / "boxes.json", json.dumps(boxes))
    readers = [read_by(tmp_path / f"Torvark{number}.csv", values) for number, values in enumerate((first, second))]
    arguments = ["--labels", readers[0], "--labels", readers[1], "--adjudication", str(tmp_path / "settled.csv")]
    arguments += ["--boxes", str(tmp_path / "boxes.json"), "rename={Coin: foreign_object}"]
    capfd.readouterr()
    assert main(["label", str(found.private), *arguments, "--out", str(public)]) == 0
    message = capfd.readouterr().out
    kappa = cohen_kappa_score(first, second)
    assert (
        f"fracture: kappa (Cohen) {kappa:.2f} [" in message
        and f"2 readers, {FILMS} films of {FILMS // 2} patients" in message
    )
    conflicts = sum(one != other for one, other in zip(first, second, strict=True))
    assert f"{conflicts} conflicts between readers or sources" in message and "MARNOSCH" not in message
    statistics = pq.read_table(public / "label_statistics.parquet")
    assert statistics.schema.equals(STATISTICS_SCHEMA)
    assert pq.read_table(public / "label_agreement.parquet").schema.equals(AGREEMENT_SCHEMA)
    merged = [row for row in statistics.to_pylist() if (row["label"], row["source"]) == ("fracture", "merged")]
    assert sum(row["films"] for row in merged) == FILMS and sum(row["uncertain"] for row in merged) == 1
    assert sum(row["conflict"] for row in merged) == conflicts - 1
    assert main(["verify", str(public)]) == 0
    assert main(["audit", str(public), "--private", str(found.private)]) == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in found.private.glob("label_*"))


def test_an_error_names_the_given_file_and_no_film(
    found: Scanned, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    public = found.shards()
    table = read_by(tmp_path / "labels.csv", ["1", "perhaps"])
    assert main(["label", str(found.private), "--labels", table, "--out", str(public)]) == BAD_INPUT
    message = capfd.readouterr().err.splitlines()[-1]
    assert f"error: {table} line 3: the cell in column 2 is no value" in message
    assert "MARNOSCH" not in message and "perhaps" not in message
    assert main(["label", str(found.private), "--labels", table, "--out", str(public), "renam={}"]) == BAD_INPUT
    assert "unknown setting 'renam'; did you mean 'rename'?" in capfd.readouterr().err
    right, nowhere = read_by(tmp_path / "right.csv", ["1", "0"]), str(tmp_path / "nowhere")
    arguments = ["--labels", right, "--reports", nowhere, "--out", str(public)]
    assert main(["label", str(found.private), *arguments]) == BAD_INPUT
    assert "nowhere do not exist" in capfd.readouterr().err
    assert not (public / "labels.parquet").exists()


def test_damaged_tables_are_detected(found: Scanned, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    public = found.shards()
    table = read_by(tmp_path / "labels.csv", ["1", "0"])
    assert main(["label", str(found.private), "--labels", table, "--out", str(public)]) == 0
    for name in ("label_statistics.parquet", "label_agreement.parquet"):
        (public / name).write_bytes(b"PAR1 Marnosch")
        assert main(["verify", str(public)]) == PROBLEMS_FOUND
        assert f"{name}: damaged; write it again with: mae-rad label" in capfd.readouterr().out
        assert main(["audit", str(public)]) == PROBLEMS_FOUND
        (public / name).unlink()
