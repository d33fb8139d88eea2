"""What a run leaves behind, and how it is taken up again.

RUN/
  config.yaml       resolved settings
  run.json          what a resumed run must share: settings that change results, dataset, code version
  checkpoints/      step-0000500/ …, latest.json
  encoder/          exported encoder: safetensors, preprocessing, model card
  metrics.jsonl     one line per logged step
  mlflow_run        id of the MLflow run
  samples/          reconstructions of held-out films
"""

import fcntl
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from mae_rad.config import PretrainSettings
from mae_rad.errors import RunError

OWN_NAMES = {"config.yaml", "run.json", "checkpoints", "encoder", "metrics.jsonl", "mlflow_run", "samples", ".lock"}


class RunFolder:
    """A run folder that belongs to these settings and these shards."""

    def __init__(self, settings: PretrainSettings, dataset_sha256: str) -> None:
        self.path = settings.runtime.run_dir
        self.checkpoints = self.path / "checkpoints"
        self.encoder = self.path / "encoder"
        self.samples = self.path / "samples"
        self._metrics = self.path / "metrics.jsonl"
        self._settings = settings
        self._held: int | None = None
        self._identity = {"settings": settings.results(), "dataset_sha256": dataset_sha256}

    def check(self) -> None:
        """Refuse a folder of another run.

        Raises:
            RunError: settings that change results, or shards, differ from those the run began with.
        """
        path = self.path / "run.json"
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file; give a new or empty folder as runtime.run_dir")
        if self.path.exists() and (other := {entry.name for entry in self.path.iterdir()} - OWN_NAMES):
            raise RunError(f"{self.path} holds other files ({min(other)}, …); give a new or empty runtime.run_dir")
        if not (self.checkpoints / "latest.json").exists():
            return  # nothing was learned yet: it may begin anew with any settings
        try:
            began: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise RunError(f"{path} is damaged, so the run cannot go on; give a new runtime.run_dir") from None
        if began["dataset_sha256"] != self._identity["dataset_sha256"]:
            raise RunError(
                f"{self.path} was begun on other shards; give the same data.shards (and data.generations,"
                " if they have grown), or a new runtime.run_dir"
            )
        differing = _differences(began["settings"], json.loads(json.dumps(self._identity["settings"])))
        if differing:
            raise RunError(
                f"{self.path} was begun with other settings: {'; '.join(differing)};"
                " a result setting cannot change on resume: set it back, or give a new runtime.run_dir"
            )

    def begin(self) -> None:
        """Make the folder and write the settings.

        Raises:
            RunError: another process trains in this folder.
        """
        self.samples.mkdir(parents=True, exist_ok=True)
        self._lock()
        self.checkpoints.mkdir(exist_ok=True)
        resolved = yaml.safe_dump(self._settings.model_dump(mode="json"), sort_keys=False)
        write_atomically(self.path / "config.yaml", resolved)
        write_atomically(self.path / "run.json", json.dumps(self._identity, indent=1))

    def release(self) -> None:
        """Let another process train in this folder."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _lock(self) -> None:
        descriptor = os.open(self.path / ".lock", os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise RunError(
                f"another process trains in {self.path}; wait for it, or give another runtime.run_dir"
            ) from None
        self._held = descriptor

    def latest(self, *, zero_stage: int, world: int) -> str | None:
        """Name of the newest complete checkpoint, None where there is none.

        Raises:
            RunError: it is partitioned otherwise than ``zero_stage`` over ``world`` ranks.
        """
        path = self.checkpoints / "latest.json"
        if not path.exists():
            return None
        saved = json.loads(path.read_text(encoding="utf-8"))
        if saved["zero_stage"] != zero_stage or (zero_stage > 0 and saved["world"] != world):
            raise RunError(
                f"{self.path} was saved with ZeRO stage {saved['zero_stage']} on {saved['world']} ranks and cannot be"
                f" resumed with stage {zero_stage} on {world}; take the same again (stage 0 resumes on any number)"
            )
        return str(saved["tag"])

    def commit(self, tag: str, *, zero_stage: int, world: int, keep: int) -> None:
        """Point to a complete checkpoint, then delete all but the newest ``keep``."""
        pointer = {"tag": tag, "zero_stage": zero_stage, "world": world}
        write_atomically(self.checkpoints / "latest.json", json.dumps(pointer))
        complete = sorted(path for path in self.checkpoints.glob("step-*") if path.name <= tag)
        for old in complete[:-keep]:
            shutil.rmtree(old)

    def tracking_id(self) -> str | None:
        """Id of the MLflow run that this folder belongs to."""
        path = self.path / "mlflow_run"
        return path.read_text(encoding="utf-8").strip() if path.exists() else None

    def keep_tracking_id(self, run_id: str) -> None:
        """Remember the MLflow run, so that a resumed training goes on in it."""
        write_atomically(self.path / "mlflow_run", run_id)

    def truncate_metrics(self, step: int) -> None:
        """Forget the lines after ``step``: the steps are about to be taken again."""
        if self._metrics.exists():
            lines = self._metrics.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= step]
            write_atomically(self._metrics, "".join(f"{line}\n" for line in kept))

    def log(self, step: int, values: dict[str, float]) -> None:
        """Append one line of metrics; what a step cannot tell (NaN) is left out."""
        with self._metrics.open("a", encoding="utf-8") as file:
            finite = {name: value for name, value in values.items() if math.isfinite(value)}
            file.write(json.dumps({"step": step} | finite) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` so that the file is either as before or complete."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for key in sorted(before.keys() | now.keys())
            for line in _differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if before == now else [f"{name} was {before!r} and is {now!r}"]
