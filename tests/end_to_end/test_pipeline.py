"""The commands of `make demo`, as the Makefile has them, one after the other on a smaller archive and shorter."""

import csv
import json
import logging
import re
import shlex
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_prep.phantom.write_archive import identifying_values
from data_prep.shard_format.dataset_card import read_dataset_card
from mae_rad.cli.main import main as mae_rad

ROOT = Path(__file__).resolve().parents[2]
TRAINING = "precision=f32 runtime.threads=1 optimizer.steps=4 optimizer.batch=8"
SMALLER = {
    "PATIENTS": "30",
    "MAE": f"{TRAINING} encoder.dim=32 encoder.heads=2 objective.decoder_dim=32 runtime.picture_every=4",
    "SIMCLR": f"{TRAINING} encoder.dim=32 encoder.heads=2 objective.head_hidden=32",
    "HEAD": f"{TRAINING} evaluation.every=2 evaluation.repetitions=100",
    "COMPARE": "repetitions=100 min_patients=2 probes=[linear,knn,attentive] analyses=[geometry,shortcuts]"
    " 'tasks=[{column: body_part}, {label: foreign_object}, {label: growth_plates}]' shortcuts=[manufacturer]",
}  # fmt: skip
"""Variables of the Makefile."""
EXPECTED_CODES = {"predict": (0, 3)}  # 3: some files are no films


class Made(NamedTuple):
    """Files and output of the commands."""

    root: Path
    output: str

    @property
    def public(self) -> Path:
        return self.root / "shards"

    @property
    def runs(self) -> Path:
        return self.root / "runs"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    root = tmp_path_factory.mktemp("pipeline")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MAE_RAD_KEY", raising=False)
        (root / "secret.key").write_text("7902699be42c8a8e46fbbb4501726517e86b22c56a189f7625a6da49081b2451")
        (root / "secret.key").chmod(0o600)
        output = _run_all(root)
    yield Made(root, output)


def _run_all(root: Path) -> str:
    capture = pytest.MonkeyPatch()
    output: list[str] = []
    handler = logging.StreamHandler(_Recorder(output))
    capture.setattr("sys.stdout", _Recorder(output))
    capture.setattr("sys.stderr", _Recorder(output))
    try:
        logging.getLogger().addHandler(handler)  # pytest has handlers, so that the commands install none
        for words in _demo_commands(root):
            before = len(output)
            assert mae_rad(words) in EXPECTED_CODES.get(words[0], (0,)), words
            if words[0] == "phantom":
                del output[before:]  # it writes the archive
        public, private = str(root / "shards"), str(root / "private")
        assert mae_rad(["verify", public]) == 0
        assert mae_rad(["audit", public, "--private", private, "--phantom", str(root / "phantom")]) == 0
        table = root / "embeddings.parquet"
        assert mae_rad(["embed", str(root / "runs" / "mae"), f"shards={public}", f"out={table}", "workers=0"]) == 0
    finally:
        capture.undo()
        logging.getLogger().removeHandler(handler)
    return "".join(output)


def _demo_commands(root: Path) -> Iterator[list[str]]:
    """Yield the commands of the recipe without its shell: two that run side by side come one after the other."""
    variables = [f"OUT={root}", *(f"{name}={value}" for name, value in SMALLER.items())]
    recipe = subprocess.run(
        ["make", "--dry-run", "demo", *variables], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for line in recipe.replace("\\\n", " ").splitlines():
        if line.startswith("mae-rad "):
            for command in re.split(r" & |; |\|\|", line):
                words = shlex.split(command, comments=True)
                if words[0] == "mae-rad":
                    yield words[1:]


class _Recorder:
    """A stream that appends its texts to a list."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def write(self, text: str) -> int:
        self._texts.append(text)
        return len(text)

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def isatty(self) -> bool:
        return False


def test_every_file_is_written_rejected_or_dropped(made: Made) -> None:
    files = read_dataset_card(made.public).files
    archive = [path for path in (made.root / "phantom" / "archive").rglob("*") if path.is_file()]
    assert files.written + files.rejected + files.dropped == len(archive)
    truth = [json.loads(line) for line in (made.root / "phantom" / "truth" / "truth.jsonl").read_text().splitlines()]
    assert files.dropped == sum(row.get("kind") in ("duplicate", "for_processing") for row in truth)


def test_no_patient_is_in_two_splits(made: Made) -> None:
    index = pq.read_table(made.public / "index.parquet").to_pylist()
    splits: dict[str, set[str]] = {}
    for row in index:
        splits.setdefault(row["patient"], set()).add(row["split"])
    assert {len(found) for found in splits.values()} == {1}
    assert {row["split"] for row in index} == {"train", "val", "test"}


def test_the_public_keys_are_those_of_the_private_manifest(made: Made) -> None:
    manifest = {row["key"] for row in pq.read_table(made.root / "private" / "manifest.parquet").to_pylist()}
    embedded = pq.read_table(made.root / "embeddings.parquet")
    index = pq.read_table(made.public / "index.parquet")
    assert set(embedded["key"].to_pylist()) == set(index["key"].to_pylist()) <= manifest


def test_no_identifying_value_is_in_any_result(made: Made) -> None:
    planted = identifying_values(made.root / "phantom")
    assert len(planted) > 100
    private = pq.read_table(made.root / "private" / "linkage.parquet")["path"].to_pylist()
    public = [path for folder in (made.public, made.runs) for path in folder.rglob("*") if path.is_file()]
    public += [made.root / "preview.png", made.root / "embeddings.parquet"]
    texts = {str(path.relative_to(made.root)): _readable(path) for path in public}
    texts["output of the commands"] = made.output.encode()
    texts["file names"] = "\n".join(texts).encode()
    values = _Values(planted)
    found = {name: values.within(text) for name, text in texts.items()}
    assert not {name: some[:3] for name, some in found.items() if some}
    # The search finds the values where they are: in the paths of the archive.
    assert len(values.within("\n".join(private).encode())) > 20


def test_logs_and_tracking_hold_no_path_of_the_archive(made: Made) -> None:
    assert str(made.root / "phantom" / "archive") not in made.output
    store = (made.runs / "mlflow.db").read_bytes()
    assert str(made.root).encode() not in store


def test_the_runs_hold_the_files_of_the_readme(made: Made) -> None:
    for name in ("mae", "simclr"):
        assert {"encoder.safetensors", "encoder.json", "README.md"} <= {
            path.name for path in (made.runs / name / "encoder").iterdir()
        }
    assert list((made.runs / "mae" / "samples").glob("*.png"))
    rows = pq.read_table(made.runs / "comparison" / "comparison.parquet").to_pylist()
    assert {"body_part", "foreign_object", "growth_plates"} <= {row["task"] for row in rows}
    assert {row["probe"] for row in rows} >= {"linear", "knn", "attentive", "geometry", "shortcut"}
    assert {"mae", "simclr", "random floor", "raw pixels", "measurements"} <= {row["encoder"] for row in rows}


def test_the_demonstration_ends_with_what_was_learned(made: Made) -> None:
    _, _, summary = made.output.partition("WHAT WAS LEARNED")
    assert re.search(r"growth plates +\d+ +\d\.\d\d +\d\.\d\d +\d\.\d\d +mae +\d\.\d\d +[+−]\d\.\d\d \[", summary)
    assert re.search(r"Finetuned with labels, AUROC on test films: .*foreign object \d\.\d\d", summary)
    assert re.search(r"Predictions of new films that are right: .*foreign object \d+ of \d+", summary)
    report = re.search(r"report +(\S+)", summary)
    assert report is not None and Path(report[1]).is_file()


def test_the_predictor_answers_films_of_the_archive(made: Made) -> None:
    with (made.root / "answers" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    answered = [row for row in rows if row["foreign_object"]]
    assert len(answered) > 1 and all(0 < float(row["foreign_object"]) < 1 for row in answered)
    assert all(row["reason"] for row in rows if row not in answered)


class _Values:
    """Texts that are looked for in bytes, in any case of letters: folders of the archive carry names in capitals."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._by_start: dict[bytes, list[bytes]] = defaultdict(list)
        for text in texts:
            value = text.encode().lower()
            self._by_start[value[:3]].append(value)
        self._starts = np.zeros(2**24, dtype=np.bool_)
        self._starts[self._codes(b"".join(self._by_start))[::3]] = True

    @staticmethod
    def _codes(data: bytes) -> "np.ndarray[tuple[int], np.dtype[np.uint32]]":
        """A number for each three bytes that follow one another."""
        each = np.frombuffer(data, np.uint8).astype(np.uint32)
        return each[:-2] | each[1:-1] << 8 | each[2:] << 16

    def within(self, data: bytes) -> list[bytes]:
        lower = data.lower()
        found = []
        for place in np.flatnonzero(self._starts[self._codes(lower)]) if len(lower) > 2 else ():
            start = int(place)
            found += [value for value in self._by_start[lower[start : start + 3]] if lower.startswith(value, start)]
        return found


def _readable(path: Path) -> bytes:
    """Bytes of a file, and for a table also its values as text."""
    data = path.read_bytes()
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        columns = [name for name in table.column_names if name != "embedding"]
        data += repr((table.schema.metadata, table.select(columns).to_pydict())).encode()
    return data
