"""``data.read: stream`` trains, says that a resumed run has another order, and leaves runs without it as they were."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import SettingsError
from data_prep.settings import load
from mae_rad.finetuning.task.settings import LabelledDataSettings
from mae_rad.pretraining.run import pretrain
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.training.deepspeed_engine import Engine
from mae_rad.training.settings import DataSettings
from tests.builders.shard_builder import film, noise, write_public
from tests.builders.tiny_run import arguments


def _settings(public: Path, run: Path, *more: str) -> PretrainSettings:
    words = arguments(public, run, 4, "data.read=stream", "runtime.checkpoint_every=1", *more)
    return load(PretrainSettings, Path(words[1]), words[2:])


def test_a_streamed_run_is_resumed_and_says_what_it_cannot_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    public = write_public(tmp_path / "public", [film(f"f{i}", noise(90, 90, seed=i)) for i in range(16)])
    forward, taken = Engine.forward, []

    def interrupted(self: Any, batch: Any) -> Any:
        taken.append(batch.keys)
        if len(taken) == 3:
            raise KeyboardInterrupt
        return forward(self, batch)

    monkeypatch.setattr(Engine, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrain(_settings(public, tmp_path / "run"))
    said = "the order of films is not that of a run without interruption"
    assert said not in caplog.text
    with caplog.at_level(logging.WARNING):
        pretrain(_settings(public, tmp_path / "run"))
    assert said in caplog.text
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]
    assert all(len(set(keys)) > 1 for keys in taken)
    assert (tmp_path / "run" / "encoder").is_dir()


def test_runs_that_do_not_stream_keep_their_identity(tmp_path: Path) -> None:
    streamed = _settings(tmp_path, tmp_path)
    assert streamed.results()["data"] == {"where": {}, "weights": {}, "read": "stream"}
    assert _settings(tmp_path, tmp_path, "data.read=index").results()["data"] == {"where": {}, "weights": {}}


def test_a_stream_is_refused_where_it_cannot_keep_its_word() -> None:
    with pytest.raises(SettingsError, match="leave weights out"):
        load(DataSettings, None, ["shards=/x", "read=stream", "weights={view: {PA: 2}}"])
    with pytest.raises(SettingsError, match="read: stream is for pretraining"):
        load(LabelledDataSettings, None, ["shards=/x", "read=stream"])
