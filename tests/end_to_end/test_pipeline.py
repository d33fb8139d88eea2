"""All commands of the README, run one after the other on a small synthetic archive."""

import csv
import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_prep.cli.main import main as data_prep
from data_prep.phantom.write_archive import identifying_values, write_archive
from data_prep.shard_format.dataset_card import read_dataset_card
from launch.compare import main as compare
from launch.embed import main as embed
from launch.finetune import main as finetune
from launch.predict import main as predict
from launch.pretrain import main as pretrain

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TINY = [
    "precision=f32", "encoder={model: vit_tiny, dim: 32, depth: 2, heads: 2, patch: 16}",
    "optimizer={steps: 4, batch: 8}", "runtime.workers=0", "runtime.threads=1", "runtime.log_every=2",
]  # fmt: skip
OBJECTIVES = {
    "mae": "objective={name: mae, tokens: 64, predicted: 0.5, decoder_dim: 32, decoder_depth: 1, decoder_heads: 2}",
    "simclr": "objective={name: simclr, tokens: 36, head_hidden: 32, head_dim: 16}",
}


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
        patch.setenv("MAE_RAD_KEY", "7902699be42c8a8e46fbbb4501726517e86b22c56a189f7625a6da49081b2451")
        output = _run_all(root)
    yield Made(root, output)


def _run_all(root: Path) -> str:
    phantom, private, public, runs = root / "phantom", root / "private", root / "shards", root / "runs"
    truth = phantom / "truth"
    capture = pytest.MonkeyPatch()
    output: list[str] = []
    handler = logging.StreamHandler(_Recorder(output))
    capture.setattr("sys.stdout", _Recorder(output))
    capture.setattr("sys.stderr", _Recorder(output))
    try:
        # Films that are drawn small: at the size of a scanner they would take most of the time.
        capture.setattr("data_prep.phantom.write_archive.write_archive", partial(write_archive, long_side=480))
        logging.getLogger().addHandler(handler)  # pytest has handlers, so that the commands install none
        assert data_prep(["phantom", str(phantom), "--patients", "24", "--seed", "5", "--level", "hard"]) == 0
        output.clear()  # phantom does not read an archive
        assert data_prep(["scan", str(phantom / "archive"), "--out", str(private)]) == 0
        settings = ["max_side=320", "splits.val=0.2", "splits.test=0.3", "runtime.max_reject_fraction=0.5"]
        assert data_prep(["shard", str(private), "--out", str(public), *settings]) == 0
        labels = ["--labels", str(truth / "labels.csv"), "--boxes", str(truth / "boxes.csv")]
        assert data_prep(["label", str(private), *labels, "--out", str(public)]) == 0
        assert data_prep(["verify", str(public)]) == 0
        assert data_prep(["audit", str(public), "--private", str(private), "--phantom", str(phantom)]) == 0
        assert data_prep(["preview", str(public), "--out", str(root / "preview.png")]) == 0
        for name, objective in OBJECTIVES.items():
            places = [f"data.shards=[{public}]", f"runtime.run_dir={runs / name}"]
            config = CONFIGS / "pretrain" / f"demo_{name}.yaml"
            assert pretrain(["--config", str(config), *places, objective, *TINY]) == 0
        table = root / "embeddings.parquet"
        assert embed([str(runs / "mae"), f"shards=[{public}]", f"out={table}", "workers=0"]) == 0
        small = [
            f"shards=[{public}]",
            f"out={runs / 'comparison'}",
            "runtime.workers=0",
            f"runtime.cache={root / 'vectors'}",
            "repetitions=100",
            "min_patients=2",
            "random_seeds=[0]",
            "label_fractions=[1.0]",
            "tasks=[{column: body_part}, {column: view}]",
            "shortcuts=[manufacturer, laterality]",
        ]
        config = CONFIGS / "compare" / "default.yaml"
        assert compare([str(runs / "mae"), str(runs / "simclr"), "--config", str(config), *small]) == 0
        config = CONFIGS / "finetune" / "demo_foreign_object.yaml"
        start = [f"start_from={runs / 'mae'}", f"data.shards=[{public}]", f"runtime.run_dir={runs / 'head'}"]
        steps = ["optimizer.steps=4", "optimizer.batch=8", "evaluation={every: 2, repetitions: 100}"]
        assert finetune(["--config", str(config), *start, *steps, "precision=f32", "runtime.threads=1"]) == 0
        films = sorted(str(path) for path in (phantom / "archive").iterdir() if path.is_dir())[:2]
        answers = [f"out={root / 'answers'}", "runtime.workers=0"]
        assert predict([str(runs / "head"), *films, *answers]) in (0, 3)  # 3: some files are no films
    finally:
        capture.undo()
        logging.getLogger().removeHandler(handler)
    return "".join(output)


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
    for name in OBJECTIVES:
        assert {"encoder.safetensors", "encoder.json", "README.md"} <= {
            path.name for path in (made.runs / name / "encoder").iterdir()
        }
    assert list((made.runs / "mae" / "samples").glob("*.png"))
    rows = pq.read_table(made.runs / "comparison" / "comparison.parquet").to_pylist()
    assert {"body_part", "view", "foreign_object", "fracture"} <= {row["task"] for row in rows}
    assert {row["probe"] for row in rows} >= {"linear", "knn", "attentive", "geometry", "shortcut"}
    assert {"mae", "simclr", "random floor"} <= {row["encoder"] for row in rows}


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
