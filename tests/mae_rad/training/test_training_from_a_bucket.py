"""A training from a bucket: unreachable for 20 seconds, killed and resumed, it ends in the weights of a local one."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.folder_url import FolderUrl
from data_prep.sharding.publish import publish
from tests.builders.processes.object_store import BUCKET, Link, complete, s3_server, storage_environment
from tests.builders.shard_builder import film, noise, write_public
from tests.builders.tiny_run import ROOT, arguments, environment

STEPS = 60
OUTAGE_SECONDS = 20


def _start(public: str, run: Path, settings: dict[str, str], out: Path) -> subprocess.Popen[bytes]:
    words = arguments(Path(), run, STEPS, f"data.shards=[{public}]", "runtime.checkpoint_every=10", "runtime.workers=1")
    with out.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "mae_rad", "pretrain", *words],
            cwd=ROOT, env=_python_path(environment()) | settings, stdout=log, stderr=log,
        )  # fmt: skip


def _python_path(values: dict[str, str]) -> dict[str, str]:
    return values | {"PYTHONPATH": ":".join([str(ROOT), *(path for path in sys.path if path)])}


def _losses(run: Path) -> dict[int, float]:
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def _wait(condition: Callable[[], bool], training: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(2400):
        if condition():
            return
        assert training.poll() is None, log.read_text()
        time.sleep(0.1)
    raise TimeoutError(log.read_text())


@pytest.mark.slow
def test_an_outage_and_a_kill_change_no_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films = [film(f"film {n}", noise(300, 280, seed=n)) for n in range(64)]
    public = complete(write_public(tmp_path / "public", films, per_shard=16))
    local = _start(str(public), tmp_path / "local", {}, tmp_path / "local.log")
    with s3_server() as port:
        link = Link(port)
        settings = storage_environment(link.port, tmp_path / "cache") | {"MAE_RAD_CACHE_GIB": "0"}
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        url = f"s3://{BUCKET}/shards"
        publish(public, FolderUrl.parse(url))
        assert local.wait(600) == 0, (tmp_path / "local.log").read_text()

        run, log = tmp_path / "bucket", tmp_path / "bucket.log"
        training = _start(url, run, settings, log)
        _wait(lambda: len(_losses(run)) >= 4, training, log)
        link.cut()
        time.sleep(1)
        before = len(_losses(run))
        time.sleep(OUTAGE_SECONDS)
        assert len(_losses(run)) <= before + 1 < STEPS
        assert training.poll() is None
        link.mend()
        _wait(lambda: len(_losses(run)) >= 25, training, log)
        training.kill()
        training.wait()
        assert max(_losses(run)) < STEPS
        link.cut()
        resumed = _start(url, run, settings, log)
        time.sleep(OUTAGE_SECONDS)
        link.mend()
        assert resumed.wait(600) == 0, log.read_text()
        link.cut()
    assert _losses(run) == _losses(tmp_path / "local")
    weights = [(folder / "encoder" / "encoder.safetensors") for folder in (run, tmp_path / "local")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    everything = [path for path in (*run.rglob("*"), log, *tmp_path.glob("mlflow*")) if path.is_file()]
    assert not [path for path in everything if b"secret-of-a-test" in path.read_bytes()]
