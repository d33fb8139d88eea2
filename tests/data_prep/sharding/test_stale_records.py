"""What was made from a folder is found: by its checksum alone or among joined ones, by its path, and by descent."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from data_prep.sharding.stale_records import find_stale

GONE, OTHER, JOINED = "a" * 64, "b" * 64, "c" * 64


def _record(path: Path, **values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def _config(run: Path, *shards: Path) -> None:
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text(yaml.safe_dump({"data": {"shards": [str(path) for path in shards]}}))


def _stale(runs: Path, public: Path) -> list[str]:
    return [path.relative_to(runs).as_posix() for path in find_stale([runs], {GONE.encode()}, public)]


def test_runs_on_joined_folders_are_stale(tmp_path: Path) -> None:
    runs, public = tmp_path / "runs", tmp_path / "public"
    _record(runs / "joined" / "run.json", dataset_sha256=JOINED, datasets=f"{GONE} {OTHER}")
    _record(runs / "others" / "run.json", dataset_sha256=JOINED, datasets=f"{OTHER} {'d' * 64}")
    metadata = {"dataset_sha256": JOINED, "datasets": f"{OTHER} {GONE}"}
    pq.write_table(pa.table({"key": ["k"]}).replace_schema_metadata(metadata), runs / "vectors.parquet")
    pq.write_table(pa.table({"key": [GONE]}), runs / "a_value_is_no_mention.parquet")
    assert _stale(runs, public) == ["joined/run.json", "vectors.parquet"]


def test_runs_of_earlier_releases_are_found_by_their_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, public = tmp_path / "runs", tmp_path / "public"
    monkeypatch.chdir(tmp_path)
    for name, shards in (("old", (tmp_path / "more", Path("public"))), ("far", (tmp_path / "more",))):
        _config(runs / name, *shards)
        _record(runs / name / "run.json", dataset_sha256=JOINED)
        _record(runs / name / "encoder" / "encoder.json", provenance={"dataset_sha256": JOINED})
    (runs / "far" / "config.yaml").with_name("x").mkdir()
    _record(runs / "damaged" / "run.json", dataset_sha256=JOINED)
    (runs / "damaged" / "config.yaml").write_text("data: [unclosed")
    assert _stale(runs, public) == ["old/encoder/encoder.json", "old/run.json"]


def test_what_begins_with_the_weights_of_a_stale_encoder_is_stale(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    weights = {name: hex(number)[2:] * 64 for number, name in enumerate(("first", "second", "third"), 1)}
    _record(runs / "1" / "encoder.json", provenance={"dataset_sha256": GONE}, weights_sha256=weights["first"])
    descent = {"dataset_sha256": OTHER, "started_from_sha256": weights["first"]}
    _record(runs / "2" / "encoder.json", provenance=descent, weights_sha256=weights["second"])
    _record(runs / "2" / "run.json", dataset_sha256=OTHER, inputs={"start_from": weights["first"]})
    _record(runs / "3" / "predictor.json", provenance={"started_from_sha256": weights["second"]})
    _record(runs / "4" / "encoder.json", provenance={"dataset_sha256": OTHER}, weights_sha256=weights["third"])
    vectors = pa.table({"key": ["k"]}).replace_schema_metadata({"encoder_sha256": weights["second"]})
    pq.write_table(vectors, runs / "vectors.parquet")
    stale = ["1/encoder.json", "2/encoder.json", "2/run.json", "3/predictor.json", "vectors.parquet"]
    assert _stale(runs, tmp_path / "public") == stale
